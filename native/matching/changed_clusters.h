// How doubtful the decisions of a matching on logits are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "matching/graph.h"

namespace matching {

// Edges that share a detector form a cluster.
class ChangedClusters {
  public:
    explicit ChangedClusters(const Graph& graph) : graph_(graph), at_(graph.num_detectors, -1) {}

    // The weight of the heaviest cluster of some edges; 0 without edges.
    double heaviest(const std::vector<int32_t>& edges, const float* weights) {
        const int32_t count = static_cast<int32_t>(edges.size());
        root_.resize(count);
        weight_.assign(count, 0);
        for (int32_t k = 0; k < count; k++) {
            root_[k] = k;
            for (const int32_t node : {graph_.first[edges[k]], graph_.second[edges[k]]}) {
                if (node < 0) continue;
                if (at_[node] < 0) {
                    at_[node] = k;
                } else {
                    root_[root_of(k)] = root_of(at_[node]);
                }
            }
        }
        double heaviest = 0;
        for (int32_t k = 0; k < count; k++) {
            heaviest = std::max(heaviest, weight_[root_of(k)] += std::fabs(weights[edges[k]]));
            for (const int32_t node : {graph_.first[edges[k]], graph_.second[edges[k]]}) {
                if (node >= 0) at_[node] = -1;
            }
        }
        return heaviest;
    }

  private:
    int32_t root_of(int32_t k) {
        while (root_[k] != k) k = root_[k] = root_[root_[k]];
        return k;
    }

    const Graph& graph_;
    std::vector<int32_t> at_;  // per detector: an edge there
    std::vector<int32_t> root_;
    std::vector<double> weight_;
};

}  // namespace matching
