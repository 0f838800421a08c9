// Two matchings, the second with weights that the edges of the first one imply: PyMatching's correlated
// matching.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matching/matcher.h"

namespace matching {

// Edge k, if it is matched, implies weights[j] for edges[j], with j from starts[k] to starts[k + 1]: what it
// weighs given that k happened. Not negative.
struct ImpliedWeights {
    std::vector<int32_t> starts, edges;
    std::vector<float> weights;
};

// A graph whose edges imply weights, ready for any number of matchers.
struct CorrelatedGraph {
    // `flips`: see `PreparedGraph`. Throws std::invalid_argument for what cannot be.
    CorrelatedGraph(Graph graph, std::vector<uint8_t> flips, ImpliedWeights given)
        : prepared(std::make_shared<const PreparedGraph>(std::move(graph), std::move(flips), given.weights)),
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
                                        std::to_string(implied.edges.size()) + " over " +
                                        std::to_string(edges) + " edges, with as many weights");
        }
        for (size_t j = 0; j < implied.edges.size(); j++) {
            if (implied.edges[j] < 0 || implied.edges[j] >= static_cast<int32_t>(edges)) {
                throw std::invalid_argument("an implied weight is of edge " +
                                            std::to_string(implied.edges[j]) + ", but there are " +
                                            std::to_string(edges));
            }
            if (!(implied.weights[j] >= 0) || !std::isfinite(implied.weights[j])) {
                throw std::invalid_argument("edge " + std::to_string(implied.edges[j]) +
                                            " has the implied weight " + std::to_string(implied.weights[j]));
            }
        }
    }
};

// One object per thread; see `Matcher`.
class CorrelatedMatcher {
  public:
    explicit CorrelatedMatcher(std::shared_ptr<const CorrelatedGraph> graph)
        : graph_(std::move(graph)), matcher_(graph_->prepared), in_units_(graph_->in_units) {}

    // As those of `Matcher`, in the second matching. In it an edge weighs the least of its own weight and
    // those implied.
    bool match(std::span<const int32_t> detections, std::vector<int32_t>& edges, double* weight) {
        const Weights weights = imply(detections);
        const bool explained = matcher_.match(detections, weights, edges, weight);
        forget();
        return explained;
    }
    bool match_with_gap(std::span<const int32_t> detections, std::vector<int32_t>& edges, double& gap) {
        const bool explained = matcher_.match_with_gap(detections, imply(detections), edges, gap);
        forget();
        return explained;
    }
    void match_classes(std::span<const int32_t> detections, std::vector<int32_t> (&edges)[2],
                       double (&weight)[2]) {
        matcher_.match_classes(detections, imply(detections), edges, weight);
        forget();
    }
    double gap(std::span<const int32_t> detections, double limit) {
        const double gap = matcher_.gap(detections, imply(detections), limit);
        forget();
        return gap;
    }

    const Graph& graph() const { return graph_->prepared->graph; }

  private:
    // The first matching, and the weights of the second one.
    Weights imply(std::span<const int32_t> detections) {
        matcher_.match(detections, first_, nullptr);
        const ImpliedWeights& implied = graph_->implied;
        for (const int32_t cause : first_) {
            for (int32_t j = implied.starts[cause]; j < implied.starts[cause + 1]; j++) {
                const int32_t edge = implied.edges[j], weight = graph_->implied_in_units[j];
                if (weight >= in_units_[edge] || graph().weights[edge] < 0) continue;
                in_units_[edge] = weight;
                changed_.push_back(edge);
            }
        }
        return {nullptr, false, in_units_.data()};
    }

    void forget() {
        for (const int32_t edge : changed_) in_units_[edge] = graph_->in_units[edge];
        changed_.clear();
    }

    std::shared_ptr<const CorrelatedGraph> graph_;
    Matcher matcher_;
    std::vector<int32_t> in_units_;         // per edge
    std::vector<int32_t> first_, changed_;  // edges: of the first matching, and those with another weight
};

}  // namespace matching
