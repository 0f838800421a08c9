// Exact minimum-weight matching of detections on a graph of edges.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <vector>

#include "clusters.h"
#include "paths.h"

namespace matching {

// Detectors 0 .. num_detectors - 1 and edges 0 .. first.size() - 1. An edge joins detectors `first` and `second`,
// or `first` and the boundary where `second` is -1; where both are -1 there is no edge (its number stays).
struct Graph {
    int32_t num_detectors = 0;
    std::vector<int32_t> first, second;
    std::vector<float> weights;  // of any sign
};

// Finds the lightest set of edges that explains a set of detections: edges of an odd number at detectors that
// fired, of an even number at the others. One object per thread; nothing is allocated after the first shots.
class Matcher {
  public:
    explicit Matcher(Graph graph) : graph_(std::move(graph)), regions_(arcs_of(graph_)), clusters_(regions_) {
        odd_.resize(graph_.num_detectors);
        chosen_.resize(graph_.first.size());
    }

    Matcher(const Matcher&) = delete;  // parts point to each other
    Matcher& operator=(const Matcher&) = delete;

    // By the graph's weights. `detections`: detectors that fired, each once. Writes the edges, ascending, and
    // the sum of their weights (where `weight` is not null). False where no edges explain the detections.
    bool match(std::span<const int32_t> detections, std::vector<int32_t>& edges, double* weight) {
        return match(detections, graph_.weights.data(), edges, weight);
    }

    // By this shot's weights, one for every edge.
    bool match(std::span<const int32_t> detections, const float* weights, std::vector<int32_t>& edges,
               double* weight) {
        edges.clear();
        regions_.begin(weights);
        std::fill(odd_.begin(), odd_.end(), 0);
        std::fill(chosen_.begin(), chosen_.end(), 0);
        for (int32_t detector : detections) odd_[detector] ^= 1;
        for (size_t e = 0; e < graph_.first.size(); e++) {
            if (graph_.first[e] < 0 || !(weights[e] < 0)) continue;
            chosen_[e] = 1;
            odd_[graph_.first[e]] ^= 1;
            if (graph_.second[e] >= 0) odd_[graph_.second[e]] ^= 1;
        }
        if (!explain()) return false;
        for (int32_t u = 0; u < regions_.count(); u++) {
            const paths::Defect& defect = regions_.defect(u);
            if (defect.mate == paths::kAlone) {
                chosen_[defect.boundary_column] ^= 1;
                flip_to_root(defect.boundary_visit);
            } else if (regions_.pair(defect.mate).low == u) {
                const paths::Pair& pair = regions_.pair(defect.mate);
                chosen_[pair.column] ^= 1;
                flip_to_root(pair.low_visit);
                flip_to_root(pair.high_visit);
            }
        }
        double sum = 0;
        for (size_t e = 0; e < chosen_.size(); e++) {
            if (chosen_[e]) edges.push_back(static_cast<int32_t>(e)), sum += weights[e];
        }
        if (weight) *weight = sum;
        return true;
    }

    const Graph& graph() const { return graph_; }

  private:
    static constexpr float kGrowth = 1.6f, kLastRadius = 1e6f;

    paths::Graph arcs_of(const Graph& graph) {
        starts_.assign(graph.num_detectors + 1, 0);
        for (size_t e = 0; e < graph.first.size(); e++) {
            for (int32_t end : {graph.first[e], graph.second[e]}) {
                if (end >= graph.num_detectors) throw std::invalid_argument("an edge ends on no detector");
                if (end >= 0) starts_[end]++;
            }
        }
        for (int32_t v = 0, sum = 0; v <= graph.num_detectors; v++) starts_[v] = sum += starts_[v];
        arcs_.resize(starts_.back());
        for (int32_t e = static_cast<int32_t>(graph.first.size()) - 1; e >= 0; e--) {
            const int32_t a = graph.first[e], b = graph.second[e];
            if (a >= 0) arcs_[--starts_[a]] = {b, e};
            if (b >= 0) arcs_[--starts_[b]] = {a, e};
        }
        return {static_cast<int64_t>(graph.first.size()), graph.num_detectors, graph.first.data(),
                graph.second.data(), starts_.data(), arcs_.data()};
    }

    bool explain() {
        for (int32_t v = 0; v < graph_.num_detectors; v++) {
            if (odd_[v]) regions_.add_defect(v);
        }
        unsure_.resize(regions_.count());
        std::iota(unsure_.begin(), unsure_.end(), 0);
        for (int32_t round = 1; !unsure_.empty(); round++) {
            for (int32_t u : unsure_) {
                if (!regions_.grow(u)) return false;
            }
            if (!clusters_.solve(unsure_, round)) return false;
            unsure_.clear();
            for (int32_t u = 0; u < regions_.count(); u++) {
                paths::Defect& defect = regions_.defect(u);
                if (defect.mate != paths::kLeft) continue;
                unsure_.push_back(u);
                defect.radius = std::min(defect.radius * kGrowth, std::max(defect.boundary, defect.radius));
                if (defect.radius > kLastRadius) return false;
            }
        }
        return true;
    }

    void flip_to_root(int32_t v) {
        for (; regions_.visit(v).parent >= 0; v = regions_.visit(v).parent) chosen_[regions_.visit(v).column] ^= 1;
    }

    const Graph graph_;
    std::vector<int32_t> starts_;
    std::vector<paths::Arc> arcs_;
    paths::Regions regions_;
    paths::Clusters clusters_;
    std::vector<uint8_t> odd_, chosen_;
    std::vector<int32_t> unsure_;
};

}  // namespace matching
