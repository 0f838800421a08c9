// The likeliest explanation of a shot by a matching on its logits: see predecoder/matching.py.
//
// Defects are what the moves with a positive logit leave of the syndrome. They are explained by changing
// moves at the price |logit|, at the lowest price in all: a minimum-weight matching of the defects with
// each other and with the boundary, d(u, v) and b(u) being the lowest prices of paths.
//
// Every defect u has a radius r(u), and a ball of the nodes that are not further from it, but no further
// than b(u) either. What is solved is a relaxed problem, in which u may also be left over, for r(u). In it
// only pairs with d(u, v) <= min(r, b)(u) + min(r, b)(v) matter, as both ends cost no more alone, and those
// are the pairs whose balls meet. So the problem falls into clusters of defects. Most are small and solved by
// dynamic programming, the others as heaviest matchings, in which a pair weighs what it saves. A
// solution that leaves nothing over is the cheapest one of the whole problem: any other becomes one of the
// relaxed problem, at no higher price, if all that does not matter is left over. As long as defects are left
// over, their radii grow.
//
// A shot's result depends on nothing but that shot. Shots that would take long (huge clusters, large
// balls) are handed back unsolved.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "bits.h"
#include "blossom.h"
#include "clusters.h"
#include "paths.h"

namespace {

using paths::Arc;
using paths::Defect;
using paths::Graph;
using paths::Pair;

constexpr float kGrowth = 1.6f;          // of the radius of a defect that is left over; fastest with trained weights
constexpr float kLastRadius = 10000.0f;  // what Python's matching leaves a defect over for

class Shot {
  public:
    explicit Shot(const Graph& graph)
        : graph_(graph), balls_(graph), clusters_(balls_), syndrome_((graph.detectors + 63) / 64),
          group_at_(graph.detectors, -1), changed_(graph.columns, 0) {}

    // Writes the committed moves; false if the shot is left unsolved.
    bool solve(const float* logits, const uint8_t* packed, double doubt, uint8_t* committed, float* dearest) {
        logits_ = logits;
        balls_.begin(logits);
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
        *dearest = 0;
        if (solved) {
            collect_changes();
            *dearest = static_cast<float>(dearest_group());
            if (!(*dearest > doubt)) {
                for (int32_t column : positive_) committed[column] = 1;
                for (int32_t column : changes_) committed[column] ^= 1;
            }
        }
        return solved;
    }

  private:
    bool explain() {
        bits::for_each(syndrome_, [&](int32_t node) { balls_.add_defect(node); });
        unsure_.resize(balls_.count());
        std::iota(unsure_.begin(), unsure_.end(), 0);
        for (int32_t round = 1; !unsure_.empty(); round++) {
            for (int32_t u : unsure_) {
                if (!balls_.grow(u)) return false;
            }
            if (!clusters_.solve(unsure_, round)) return false;
            // All that are left over now were in a cluster with one that grew.
            unsure_.clear();
            for (int32_t u = 0; u < balls_.count(); u++) {
                Defect& defect = balls_.defect(u);
                if (defect.mate != paths::kLeft) continue;
                unsure_.push_back(u);
                defect.radius = std::min(defect.radius * kGrowth, std::max(defect.boundary, defect.radius));
                if (defect.radius > kLastRadius) return false;
            }
        }
        return true;
    }

    // Moves on an odd number of the paths.
    void collect_changes() {
        changes_.clear();
        for (int32_t u = 0; u < balls_.count(); u++) {
            const Defect& defect = balls_.defect(u);
            if (defect.mate == paths::kAlone) {
                change(defect.boundary_column);
                change_to_root(defect.boundary_visit);
            } else if (balls_.pair(defect.mate).low == u) {
                const Pair& pair = balls_.pair(defect.mate);
                change(pair.column);
                change_to_root(pair.low_visit);
                change_to_root(pair.high_visit);
            }
        }
        size_t kept = 0;
        for (int32_t column : changes_) {
            if (!changed_[column]) continue;
            changed_[column] = 0;
            changes_[kept++] = column;
        }
        changes_.resize(kept);
    }

    void change(int32_t column) {
        changed_[column] ^= 1;
        changes_.push_back(column);
    }

    void change_to_root(int32_t v) {
        for (; balls_.visit(v).parent >= 0; v = balls_.visit(v).parent) change(balls_.visit(v).column);
    }

    // Price of the dearest group of changes; changes that share a detector form a group.
    double dearest_group() {
        const int32_t changes = static_cast<int32_t>(changes_.size());
        group_.resize(changes);
        cost_.assign(changes, 0);
        for (int32_t k = 0; k < changes; k++) {
            group_[k] = k;
            for (const int32_t node : {graph_.first[changes_[k]], graph_.second[changes_[k]]}) {
                if (node < 0) continue;
                if (group_at_[node] < 0) {
                    group_at_[node] = k;
                } else {
                    group_[group_of(k)] = group_of(group_at_[node]);
                }
            }
        }
        double dearest = 0;
        for (int32_t k = 0; k < changes; k++) {
            const double cost = cost_[group_of(k)] += std::fabs(logits_[changes_[k]]);
            dearest = std::max(dearest, cost);
            group_at_[graph_.first[changes_[k]]] = -1;
            if (graph_.second[changes_[k]] >= 0) group_at_[graph_.second[changes_[k]]] = -1;
        }
        return dearest;
    }

    int32_t group_of(int32_t k) {
        while (group_[k] != k) k = group_[k] = group_[group_[k]];
        return k;
    }

    const Graph graph_;
    const float* logits_ = nullptr;
    paths::Balls balls_;
    paths::Clusters clusters_;
    std::vector<uint64_t> syndrome_;
    std::vector<int32_t> group_at_;  // per node: a change that touches it
    std::vector<uint8_t> changed_;   // per column
    std::vector<int32_t> positive_, changes_, group_;
    std::vector<double> cost_;
    std::vector<int32_t> unsure_;  // defects that were left over
};

}  // namespace

// Returns how many shots are left unsolved; `unsolved` says which. Their moves are all 0.
//
// logits: float (shots, columns). packed: (shots, ceil(detectors / 8)), LSB first. arcs: (starts[detectors],
// 2) of target and column. Out: committed 0/1 (shots, columns), nothing where a group of changes costs more
// than `doubt`; dearest (shots,), that price; unsolved 0/1 (shots,).
extern "C" int64_t qecpipe_match(int64_t columns, int64_t detectors, const int32_t* first,
                                 const int32_t* second, const int32_t* starts, const int32_t* arcs,
                                 int64_t shots, const float* logits, const uint8_t* packed, double doubt,
                                 uint8_t* committed, float* dearest, uint8_t* unsolved) {
    const Graph graph{columns, detectors, first, second, starts, reinterpret_cast<const Arc*>(arcs)};
    Shot shot(graph);
    int64_t left = 0;
    for (int64_t s = 0; s < shots; s++) {
        const bool solved = shot.solve(logits + s * columns, packed + s * ((detectors + 7) / 8), doubt,
                                       committed + s * columns, dearest + s);
        unsolved[s] = !solved;
        left += !solved;
    }
    return left;
}

// The heaviest matching of any graph, for tests of it alone.
//
// ends: (edges, 2), vertices. weights: (edges,), positive. Out: edge_of (vertices,), -1 without.
extern "C" void qecpipe_heaviest_matching(int64_t vertices, int64_t edges, const int32_t* ends,
                                          const int64_t* weights, int32_t* edge_of) {
    HeaviestMatching matching;
    matching.clear(static_cast<int32_t>(vertices));
    for (int64_t k = 0; k < edges; k++) matching.add_edge(ends[2 * k], ends[2 * k + 1], weights[k]);
    matching.solve();
    for (int64_t v = 0; v < vertices; v++) edge_of[v] = matching.edge_of(static_cast<int32_t>(v));
}
