// Exact minimum-weight matching of detections on a graph, also in each class of an observable.
//
// Weights may be negative: edges of negative weight are taken first, and what they leave is explained by
// changing that, at the absolute weights. Weights are rounded: those of the graph to 2^-24 of the largest
// (not at all if they are whole), as PyMatching does, those of a shot to 2^-24. Nothing else is approximate,
// and nothing is given up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matching/blossoms.h"
#include "matching/classes.h"
#include "matching/graph.h"
#include "matching/matched_edges.h"

namespace matching {

// A graph, ready for any number of matchers.
struct PreparedGraph {
    // `flips`: whether an edge flips the observable whose classes are asked for, per edge; or empty. Throws
    // std::invalid_argument; see `Graph` and `flips_on_boundary`.
    // `later`: see `Arcs`.
    explicit PreparedGraph(Graph given, std::vector<uint8_t> given_flips = {},
                           const std::vector<float>& later = {})
        : graph(std::move(given)), flips(std::move(given_flips)), arcs(graph, hub_of(graph, flips), later) {
        for (int32_t e = 0; e < graph.num_edges(); e++) {
            if (graph.first[e] >= 0 && graph.weights[e] < 0) negative.push_back(e);
        }
    }

    const Graph graph;
    const std::vector<uint8_t> flips;
    const Arcs arcs;
    std::vector<int32_t> negative;  // edges

  private:
    static std::vector<uint8_t> hub_of(const Graph& graph, const std::vector<uint8_t>& flips) {
        if (flips.empty()) return {};
        if (flips.size() != graph.first.size()) {
            throw std::invalid_argument("flips has " + std::to_string(flips.size()) +
                                        " values, but there are " + std::to_string(graph.first.size()) +
                                        " edges");
        }
        return flips_on_boundary(graph, flips);
    }
};

// Finds the lightest set of edges that explains a set of detections: edges of an odd number at detectors that
// fired, of an even number at the others. One object per thread; nothing is allocated after the first shots.
class Matcher {
  public:
    explicit Matcher(Graph graph) : Matcher(std::make_shared<const PreparedGraph>(std::move(graph))) {}
    explicit Matcher(std::shared_ptr<const PreparedGraph> graph)
        : graph_(std::move(graph)), blossoms_(graph_->arcs), is_odd_(graph_->graph.num_detectors, 0),
          is_chosen_(graph_->graph.first.size(), 0) {}

    // `detections`: detectors that fired (of those given twice, nothing is left). Writes the edges,
    // ascending, and the sum of their weights (unless null). False where no edges explain them: those written
    // leave one detector over in every connected part of the graph where one has to be.
    bool match(std::span<const int32_t> detections, const Weights& weights, std::vector<int32_t>& edges,
               double* weight) {
        const bool explained = solve(detections, weights);
        collect(weights, edges, weight);
        return explained;
    }
    // By the graph's weights, or by this shot's, one for every edge.
    bool match(std::span<const int32_t> detections, std::vector<int32_t>& edges, double* weight) {
        return match(detections, Weights{}, edges, weight);
    }
    bool match(std::span<const int32_t> detections, const float* weights, std::vector<int32_t>& edges,
               double* weight) {
        return match(detections, Weights{weights}, edges, weight);
    }

    // The same, and by how much the lightest edges of the observable's other class weigh more; infinite where
    // nothing explains that class. Needs a graph with flips.
    bool match_with_gap(std::span<const int32_t> detections, const Weights& weights,
                        std::vector<int32_t>& edges, double& gap) {
        const bool explained = match(detections, weights, edges, nullptr);
        gap = explained ? excess(kUnlimited) : std::numeric_limits<double>::quiet_NaN();
        return explained;
    }

    // The lightest edges that leave the observable alone and those that flip it; a class that nothing
    // explains has no edges and infinite weight. Needs a graph with flips.
    void match_classes(std::span<const int32_t> detections, const Weights& weights,
                       std::vector<int32_t> (&edges)[2], double (&weight)[2]) {
        for (int k = 0; k < 2; k++) edges[k].clear(), weight[k] = kUnlimited;
        if (!solve(detections, weights)) return;
        const int which = parity();
        collect(weights, edges[which], &weight[which]);
        if (blossoms_.change_parity(weight[1 - which]))
            collect(weights, edges[1 - which], &weight[1 - which]);
    }

    // The least weight with the observable flipped less that without: infinite where only one of them
    // explains the detections, not a number where nothing does. Gaps above `limit` are `limit`, which takes
    // less time.
    double gap(std::span<const int32_t> detections, const Weights& weights, double limit) {
        if (!solve(detections, weights)) return std::numeric_limits<double>::quiet_NaN();
        const double sign = parity() ? -1 : 1;
        return sign * excess(limit);
    }

    // Edges that the last matching changed: those it has and negative ones that it has not; in any order.
    const std::vector<int32_t>& changed() const { return changed_; }

    const PreparedGraph& prepared() const { return *graph_; }
    const Graph& graph() const { return graph_->graph; }

  private:
    static constexpr double kUnlimited = std::numeric_limits<double>::infinity();

    // After `solve`: what the other class weighs more, at most `limit`.
    double excess(double limit) {
        return std::min(blossoms_.change_parity(limit) ? blossoms_.gained() : kUnlimited, limit);
    }

    bool solve(std::span<const int32_t> detections, const Weights& weights) {
        odd_.clear(), base_.clear();
        for (const int32_t detector : detections) toggle(detector);
        if (weights.of_shot) {
            find_negative(weights);
        } else {
            base_ = graph_->negative;
        }
        for (const int32_t edge : base_) {
            toggle(graph_->graph.first[edge]);
            if (graph_->graph.second[edge] >= 0) toggle(graph_->graph.second[edge]);
        }
        blossoms_.begin(weights);
        for (const int32_t detector : odd_) {
            if (!is_odd_[detector]) continue;
            is_odd_[detector] = 0;
            blossoms_.add_defect(detector);
        }
        return blossoms_.solve();
    }

    // Whether what was found flips the observable.
    int parity() {
        int odd = 0;
        for (const int32_t edge : base_) odd ^= graph_->flips[edge];
        matched_.for_each(blossoms_.regions(), [&](int32_t edge) { odd ^= graph_->flips[edge]; });
        return odd & 1;
    }

    void toggle(int32_t detector) {
        is_odd_[detector] ^= 1;
        odd_.push_back(detector);
    }

    void find_negative(const Weights& weights) {
        const float* values = weights.of_shot;
        const int32_t count = graph_->graph.num_edges();
        constexpr int32_t kBlock = 64;
        for (int32_t start = 0; start < count; start += kBlock) {
            const int32_t end = std::min(start + kBlock, count);
            // Few are: whole blocks are passed over first, which compilers do with vectors.
            int32_t any = 0;
            for (int32_t e = start; e < end; e++) any |= weights.are_logits ? values[e] > 0 : values[e] < 0;
            if (!any) continue;
            for (int32_t e = start; e < end; e++) {
                const bool is = weights.are_logits ? values[e] > 0 : values[e] < 0;
                if (is && graph_->graph.first[e] >= 0) base_.push_back(e);
            }
        }
    }

    void collect(const Weights& weights, std::vector<int32_t>& edges, double* weight) {
        changed_.clear(), edges.clear();
        matched_.for_each(blossoms_.regions(), [&](int32_t edge) {
            is_chosen_[edge] ^= 1;
            changed_.push_back(edge);
        });
        keep_chosen(changed_);
        for (const int32_t edge : changed_) is_chosen_[edge] = 1;
        for (const int32_t edge : base_) is_chosen_[edge] ^= 1;
        edges.insert(edges.end(), changed_.begin(), changed_.end());
        edges.insert(edges.end(), base_.begin(), base_.end());
        keep_chosen(edges);
        std::sort(edges.begin(), edges.end());
        if (weight) *weight = weight_of(weights, edges);
    }

    // Leaves each edge that is chosen once, and none chosen.
    void keep_chosen(std::vector<int32_t>& edges) {
        size_t kept = 0;
        for (const int32_t edge : edges) {
            if (!is_chosen_[edge]) continue;
            is_chosen_[edge] = 0;
            edges[kept++] = edge;
        }
        edges.resize(kept);
    }

    double weight_of(const Weights& weights, const std::vector<int32_t>& edges) const {
        const std::vector<float>& fixed = graph_->graph.weights;
        double sum = 0;
        if (weights.in_units) {
            for (const int32_t edge : edges)
                sum += fixed[edge] < 0 ? -weights.in_units[edge] : weights.in_units[edge];
            return sum / (2 * graph_->arcs.units);
        }
        const float* values = weights.of_shot ? weights.of_shot : fixed.data();
        for (const int32_t edge : edges) sum += values[edge];
        return weights.are_logits ? -sum : sum;
    }

    std::shared_ptr<const PreparedGraph> graph_;
    Blossoms blossoms_;
    MatchedEdges matched_;
    std::vector<uint8_t> is_odd_;     // per detector
    std::vector<uint8_t> is_chosen_;  // per edge
    std::vector<int32_t> odd_;        // detectors that were toggled
    std::vector<int32_t> base_;       // edges of negative weight
    std::vector<int32_t> changed_;
};

}  // namespace matching
