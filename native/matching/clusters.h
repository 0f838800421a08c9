// Defects that pairs connect, and their lowest weight: by dynamic programming, or as a heaviest matching.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blossom.h"
#include "paths.h"

namespace paths {

constexpr int kFewInCluster = 10;     // with no more, a table of all subsets is faster than blossoms
constexpr int kMostInCluster = 1000;  // defects: far more than trained weights leave
// For blossoms, weights are whole numbers of 2^-32. From 2^-8 on, they are so anyway, as floats have 24 bits;
// others are rounded by 2^-33 at most: a matching of n defects costs at most 3 n 2^-33 more than the best.
constexpr double kUnits = int64_t{1} << 32;

// The best of a subset of a cluster's defects: what becomes of its last one.
struct Subset {
    int64_t epoch;  // the cluster
    float weight;
    int32_t mate;  // -1: unpaired, so matched to the boundary or unmatched
};

// Settles the mates of a shot's defects, cluster by cluster.
class Clusters {
  public:
    explicit Clusters(Regions& regions) : regions_(regions), best_(size_t{1} << kFewInCluster, {0, 0, 0}) {}

    // Solves every cluster with a defect that is unsure; false if one is too large. Rounds of a shot count up
    // from 1.
    bool solve(const std::vector<int32_t>& unsure, int32_t round) {
        round_ = round;
        for (int32_t u : unsure) {
            if (regions_.defect(u).round == round_) continue;
            find_cluster(u);
            if (cluster_.size() > kMostInCluster) return false;
            solve_cluster();
        }
        return true;
    }

  private:
    // All that pairs connect to a defect, in order.
    void find_cluster(int32_t u) {
        cluster_.assign(1, u);
        regions_.defect(u).round = round_;
        for (size_t k = 0; k < cluster_.size(); k++) {
            regions_.for_each_pair(cluster_[k], [&](int32_t pair, int32_t other) {
                if (regions_.defect(other).round == round_ || !regions_.matters(regions_.pair(pair))) return;
                regions_.defect(other).round = round_;
                cluster_.push_back(other);
            });
        }
        std::sort(cluster_.begin(), cluster_.end());
    }

    void solve_cluster() {
        const int32_t size = static_cast<int32_t>(cluster_.size());
        if (size == 1) return unpaired(regions_.defect(cluster_[0]));
        for (int32_t i = 0; i < size; i++) regions_.defect(cluster_[i]).place = i;
        if (size <= kFewInCluster) {
            solve_by_subsets();
        } else {
            solve_by_blossoms();
        }
    }

    void solve_by_blossoms() {
        savings_.clear(static_cast<int32_t>(cluster_.size()));
        edges_.clear();
        for (int32_t u : cluster_) {
            regions_.for_each_pair(u, [&](int32_t pair, int32_t other) {
                if (other < u) return;  // once
                const int64_t unpaired = units(regions_.defect(u).reach()) + units(regions_.defect(other).reach());
                const int64_t saved = unpaired - units(regions_.pair(pair).weight);
                if (saved <= 0) return;
                savings_.add_edge(regions_.defect(u).place, regions_.defect(other).place, saved);
                edges_.push_back(pair);
            });
        }
        savings_.solve();
        for (size_t i = 0; i < cluster_.size(); i++) {
            const int32_t edge = savings_.edge_of(static_cast<int32_t>(i));
            if (edge < 0) {
                unpaired(regions_.defect(cluster_[i]));
            } else {
                regions_.defect(cluster_[i]).mate = edges_[edge];
            }
        }
    }

    static int64_t units(float weight) { return static_cast<int64_t>(kUnits * weight + 0.5); }

    void solve_by_subsets() {
        const int32_t size = static_cast<int32_t>(cluster_.size());
        for (int32_t i = 0; i < size; i++) {
            mates_[i] = 0;
            single_[i] = regions_.defect(cluster_[i]).reach();
        }
        for (int32_t i = 0; i < size; i++) {
            regions_.for_each_pair(cluster_[i], [&](int32_t pair, int32_t other) {
                if (other < cluster_[i] || !regions_.matters(regions_.pair(pair))) return;
                const int32_t j = regions_.defect(other).place;
                pair_of_[j][i] = pair;
                weight_of_[j][i] = regions_.pair(pair).weight;
                mates_[j] |= 1u << i;
            });
        }
        epoch_++;
        uint32_t subset = (1u << size) - 1;
        lightest(subset);
        while (subset) {
            const int last = 31 - __builtin_clz(subset), mate = best_[subset].mate;
            subset ^= 1u << last;
            if (mate < 0) {
                unpaired(regions_.defect(cluster_[last]));
            } else {
                subset ^= 1u << mate;
                regions_.defect(cluster_[last]).mate = regions_.defect(cluster_[mate]).mate = pair_of_[last][mate];
            }
        }
    }

    // Lowest weight of a subset of the cluster. Its last defect is unpaired, or has a mate among the others; as
    // defects are in order of their detectors, few subsets come up.
    float lightest(uint32_t members) {
        if (!members) return 0;
        Subset& best = best_[members];
        if (best.epoch == epoch_) return best.weight;
        const int last = 31 - __builtin_clz(members);
        const uint32_t rest = members ^ 1u << last;
        float lowest = kInfinity;
        int mate = -1;
        for (uint32_t left = mates_[last] & rest; left; left &= left - 1) {
            const int j = __builtin_ctz(left);
            const float total = lightest(rest ^ 1u << j) + weight_of_[last][j];
            if (total < lowest) lowest = total, mate = j;
        }
        const float unpaired = lightest(rest) + single_[last];
        if (unpaired < lowest) lowest = unpaired, mate = -1;
        best = {epoch_, lowest, mate};
        return lowest;
    }

    static void unpaired(Defect& defect) {
        defect.mate = defect.boundary <= defect.radius ? kAlone : kLeft;
    }

    Regions& regions_;
    int32_t round_ = 0;
    std::vector<int32_t> cluster_;  // the one at hand: defects
    // If it is large: what its pairs save, and the pair of every edge.
    HeaviestMatching savings_;
    std::vector<int32_t> edges_;
    // If it is small: weights of its defects unpaired and in pairs, the earlier one second.
    float single_[kFewInCluster], weight_of_[kFewInCluster][kFewInCluster];
    int32_t pair_of_[kFewInCluster][kFewInCluster];
    uint32_t mates_[kFewInCluster];
    std::vector<Subset> best_;  // its defects are bits of the index
    int64_t epoch_ = 0;         // clusters so far
};

}  // namespace paths
