// Two matchings, the second with weights that the edges of the first one imply: PyMatching's correlated matching.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matcher.h"

namespace matching {

// Edge k, if it is matched, implies weights[j] for edges[j], with j from starts[k] to starts[k + 1]: what it weighs
// given that k happened. Not negative.
struct ImpliedWeights {
    std::vector<int32_t> starts, edges;
    std::vector<float> weights;
};

// A graph whose edges imply weights, ready for any number of matchers.
struct CorrelatedGraph {
    // Throws std::invalid_argument for what cannot be.
    CorrelatedGraph(Graph graph, ImpliedWeights given)
        : prepared(std::make_shared<const PreparedGraph>(std::move(graph), std::vector<uint8_t>(), given.weights)),
          implied(std::move(given)) {
        check();
        const Graph& edges = prepared->graph;
        in_units.resize(edges.weights.size());
        for (size_t e = 0; e < in_units.size(); e++) in_units[e] = prepared->arcs.rounded(edges.weights[e]);
        implied_in_units.resize(implied.weights.size());
        for (size_t j = 0; j < implied_in_units.size(); j++) {
            implied_in_units[j] = prepared->arcs.rounded(implied.weights[j]);
        }
    }

    std::shared_ptr<const PreparedGraph> prepared;
    const ImpliedWeights implied;
    std::vector<int32_t> in_units, implied_in_units;  // of edges, and of `implied`

  private:
    void check() const {
        const size_t edges = prepared->graph.weights.size();
        if (implied.starts.size() != edges + 1 || implied.starts.front() != 0 ||
            implied.starts.back() != static_cast<int32_t>(implied.edges.size()) ||
            !std::is_sorted(implied.starts.begin(), implied.starts.end()) ||
            implied.weights.size() != implied.edges.size()) {
            throw std::invalid_argument("implied weights: starts has to rise from 0 to " +
                                        std::to_string(implied.edges.size()) + " over " + std::to_string(edges) +
                                        " edges, with as many weights");
        }
        for (size_t j = 0; j < implied.edges.size(); j++) {
            if (implied.edges[j] < 0 || implied.edges[j] >= static_cast<int32_t>(edges)) {
                throw std::invalid_argument("an implied weight is of edge " + std::to_string(implied.edges[j]) +
                                            ", but there are " + std::to_string(edges));
            }
            if (!(implied.weights[j] >= 0) || !std::isfinite(implied.weights[j])) {
                throw std::invalid_argument("edge " + std::to_string(implied.edges[j]) + " has the implied weight " +
                                            std::to_string(implied.weights[j]));
            }
        }
    }
};

// One object per thread; see `Matcher`.
class CorrelatedMatcher {
  public:
    explicit CorrelatedMatcher(std::shared_ptr<const CorrelatedGraph> graph)
        : graph_(std::move(graph)), matcher_(graph_->prepared), in_units_(graph_->in_units) {}

    // As `Matcher::match`. An edge weighs the least of what it weighs and what is implied; `weight` is the sum of
    // these.
    bool match(std::span<const int32_t> detections, std::vector<int32_t>& edges, double* weight) {
        matcher_.match(detections, edges, nullptr);
        changed_.clear();
        for (const int32_t cause : edges) {
            for (int32_t j = graph_->implied.starts[cause]; j < graph_->implied.starts[cause + 1]; j++) {
                const int32_t edge = graph_->implied.edges[j];
                if (graph_->implied_in_units[j] >= in_units_[edge] || is_negative(edge)) continue;
                in_units_[edge] = graph_->implied_in_units[j];
                changed_.push_back(edge);
            }
        }
        const bool explained = matcher_.match_in_units(detections, in_units_.data(), edges);
        if (weight) {
            *weight = 0;
            for (const int32_t edge : edges) *weight += is_negative(edge) ? -in_units_[edge] : in_units_[edge];
            *weight /= 2 * graph_->prepared->arcs.units;
        }
        for (const int32_t edge : changed_) in_units_[edge] = graph_->in_units[edge];
        return explained;
    }

    const Graph& graph() const { return graph_->prepared->graph; }

  private:
    bool is_negative(int32_t edge) const { return graph_->prepared->graph.weights[edge] < 0; }

    std::shared_ptr<const CorrelatedGraph> graph_;
    Matcher matcher_;
    std::vector<int32_t> in_units_;  // per edge
    std::vector<int32_t> changed_;
};

}  // namespace matching
