#include "matching/move_matching.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/bits.h"
#include "matching/blossom.h"
#include "matching/clusters.h"
#include "matching/paths.h"

namespace matching {

namespace {

using paths::Arc;
using paths::Defect;
using paths::Graph;
using paths::Pair;

constexpr float kGrowth = 1.6f;          // of an unmatched defect's radius; fastest with trained weights
constexpr float kLastRadius = 10000.0f;  // what Python's matching leaves a defect over for

class Shot {
  public:
    explicit Shot(const Graph& graph)
        : graph_(graph), regions_(graph), clusters_(regions_), syndrome_((graph.detectors + 63) / 64),
          touching_(graph.detectors, -1), is_flipped_(graph.columns, 0) {}

    // Writes the committed moves; false if the shot is left unsolved.
    bool solve(const float* logits, const uint8_t* packed, double abstain_above, uint8_t* committed,
               float* maximum_weight) {
        logits_ = logits;
        regions_.begin(logits);
        bits::load(packed, graph_.detectors, syndrome_);
        std::memset(committed, 0, graph_.columns);
        positive_.clear();
        bits::for_each_positive(logits, graph_.columns, [&](int64_t column) {
            const int32_t first = graph_.first[column], second = graph_.second[column];
            if (first < 0) return;
            positive_.push_back(static_cast<int32_t>(column));
            bits::flip(syndrome_, first);
            if (second >= 0) bits::flip(syndrome_, second);
        });
        const bool solved = explain();
        *maximum_weight = 0;
        if (solved) {
            collect_flipped();
            *maximum_weight = static_cast<float>(heaviest_cluster());
            if (!(*maximum_weight > abstain_above)) {
                for (int32_t column : positive_) committed[column] = 1;
                for (int32_t column : flipped_) committed[column] ^= 1;
            }
        }
        return solved;
    }

  private:
    bool explain() {
        bits::for_each(syndrome_, [&](int32_t node) { regions_.add_defect(node); });
        unsure_.resize(regions_.count());
        std::iota(unsure_.begin(), unsure_.end(), 0);
        for (int32_t round = 1; !unsure_.empty(); round++) {
            for (int32_t u : unsure_) {
                if (!regions_.grow(u)) return false;
            }
            if (!clusters_.solve(unsure_, round)) return false;
            // All that are unmatched now were in a cluster with one that grew.
            unsure_.clear();
            for (int32_t u = 0; u < regions_.count(); u++) {
                Defect& defect = regions_.defect(u);
                if (defect.mate != paths::kLeft) continue;
                unsure_.push_back(u);
                defect.radius = std::min(defect.radius * kGrowth, std::max(defect.boundary, defect.radius));
                if (defect.radius > kLastRadius) return false;
            }
        }
        return true;
    }

    // Moves on an odd number of the paths.
    void collect_flipped() {
        flipped_.clear();
        for (int32_t u = 0; u < regions_.count(); u++) {
            const Defect& defect = regions_.defect(u);
            if (defect.mate == paths::kAlone) {
                flip(defect.boundary_column);
                change_to_root(defect.boundary_visit);
            } else if (regions_.pair(defect.mate).low == u) {
                const Pair& pair = regions_.pair(defect.mate);
                flip(pair.column);
                change_to_root(pair.low_visit);
                change_to_root(pair.high_visit);
            }
        }
        size_t kept = 0;
        for (int32_t column : flipped_) {
            if (!is_flipped_[column]) continue;
            is_flipped_[column] = 0;
            flipped_[kept++] = column;
        }
        flipped_.resize(kept);
    }

    void flip(int32_t column) {
        is_flipped_[column] ^= 1;
        flipped_.push_back(column);
    }

    void change_to_root(int32_t v) {
        for (; regions_.visit(v).parent >= 0; v = regions_.visit(v).parent) flip(regions_.visit(v).column);
    }

    // Weight of the heaviest cluster of flipped edges; flipped edges that share a detector form a cluster.
    double heaviest_cluster() {
        const int32_t count = static_cast<int32_t>(flipped_.size());
        root_.resize(count);
        weight_.assign(count, 0);
        for (int32_t k = 0; k < count; k++) {
            root_[k] = k;
            for (const int32_t node : {graph_.first[flipped_[k]], graph_.second[flipped_[k]]}) {
                if (node < 0) continue;
                if (touching_[node] < 0) {
                    touching_[node] = k;
                } else {
                    root_[root_of(k)] = root_of(touching_[node]);
                }
            }
        }
        double maximum_weight = 0;
        for (int32_t k = 0; k < count; k++) {
            const double weight = weight_[root_of(k)] += std::fabs(logits_[flipped_[k]]);
            maximum_weight = std::max(maximum_weight, weight);
            touching_[graph_.first[flipped_[k]]] = -1;
            if (graph_.second[flipped_[k]] >= 0) touching_[graph_.second[flipped_[k]]] = -1;
        }
        return maximum_weight;
    }

    int32_t root_of(int32_t k) {
        while (root_[k] != k) k = root_[k] = root_[root_[k]];
        return k;
    }

    const Graph graph_;
    const float* logits_ = nullptr;
    paths::Regions regions_;
    paths::Clusters clusters_;
    std::vector<uint64_t> syndrome_;
    std::vector<int32_t> touching_;  // per node: a flipped edge that touches it
    std::vector<uint8_t> is_flipped_;  // per column
    std::vector<int32_t> positive_, flipped_, root_;
    std::vector<double> weight_;
    std::vector<int32_t> unsure_;  // defects that were unmatched
};

}  // namespace

MoveMatching::MoveMatching(std::span<const int32_t> first, std::span<const int32_t> second, int64_t detectors)
    : first_(first.begin(), first.end()), second_(second.begin(), second.end()), starts_(detectors + 1, 0) {
    const auto columns = static_cast<int64_t>(first_.size());
    if (second_.size() != first_.size()) throw std::invalid_argument("moves have as many first as second ends");
    for (int64_t column = 0; column < columns; column++) {
        for (const int32_t end : {first_[column], second_[column]}) {
            if (end >= detectors) {
                throw std::invalid_argument("a move ends on D" + std::to_string(end) + ", but D" +
                                            std::to_string(detectors - 1) + " is the last detector");
            }
            if (end >= 0) starts_[end + 1]++;
        }
    }
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    arcs_.resize(starts_.back());
    std::vector<int32_t> next(starts_.begin(), starts_.end() - 1);
    for (int32_t column = 0; column < columns; column++) {
        if (first_[column] >= 0) arcs_[next[first_[column]]++] = {second_[column], column};
        if (second_[column] >= 0) arcs_[next[second_[column]]++] = {first_[column], column};
    }
}

int64_t MoveMatching::match(int64_t shots, const float* logits, const uint8_t* packed, double abstain_above,
                            uint8_t* committed, float* maximum_weight, bool* unsolved) const {
    const int64_t columns = num_columns(), detectors = num_detectors();
    Shot shot({columns, detectors, first_.data(), second_.data(), starts_.data(), arcs_.data()});
    int64_t left = 0;
    for (int64_t s = 0; s < shots; s++) {
        const bool solved = shot.solve(logits + s * columns, packed + s * ((detectors + 7) / 8), abstain_above,
                                       committed + s * columns, maximum_weight + s);
        unsolved[s] = !solved;
        left += !solved;
    }
    return left;
}

}  // namespace matching
