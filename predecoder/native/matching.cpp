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
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "bits.h"
#include "blossom.h"

namespace {

constexpr float kDearest = 1000.0f;      // no |logit| counts for more
constexpr float kFirstRadius = 2.0f;     // fastest with trained weights, as is the next
constexpr float kGrowth = 1.6f;          // of the radius of a defect that is left over
constexpr float kLastRadius = 10000.0f;  // what Python's matching leaves a defect over for
constexpr int kFewInCluster = 10;        // with no more, a table of all subsets is faster than blossoms
constexpr int kMostInCluster = 1000;     // defects: far more than trained weights leave
// For blossoms, prices are whole numbers of 2^-32. From 2^-8 on, they are so anyway, as floats have 24 bits;
// others are rounded by 2^-33 at most: a matching of n defects costs at most 3 n 2^-33 more than the best.
constexpr double kUnits = int64_t{1} << 32;
// Steps of the search in one shot: some fifty times what trained weights need, and less than Python takes.
constexpr int64_t kMostSteps = 100000, kMostStepsPerDetector = 250;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Arc {
    int32_t target;  // -1: the boundary
    int32_t column;
};

// Moves as a graph. A column is a place in a row of logits; `first` is -1 where it is no move, `second` -1
// where the move ends on the boundary.
struct Graph {
    int64_t columns, detectors;
    const int32_t *first, *second;
    const int32_t* starts;
    const Arc* arcs;
};

// A node in a defect's ball or, until it is expanded, on its surface.
struct Visit {
    float distance;
    float beyond;  // the shortest way past the radius that was seen from here; kSurface before
    int32_t node;
    int32_t defect;
    int32_t parent;  // visit, -1 at the defect itself
    int32_t column;  // move from there
    int32_t next_here;
    int32_t next_of_defect;
};
constexpr float kSurface = -1;

struct Defect {
    float radius;
    float boundary;  // price of the best way found
    int32_t boundary_visit, boundary_column;
    int32_t root;  // visit
    int32_t visits;  // a list
    int32_t pairs;   // a list: twice the pair's number, and 1 more where it is the pair's high one
    int32_t round;  // when its cluster was last found
    int32_t place;  // there
    int32_t mate;  // pair, or kAlone, kLeft

    float reach() const { return std::min(radius, boundary); }
};
constexpr int32_t kAlone = -1, kLeft = -2;

// A path between two defects: up to two visits and across one move.
struct Pair {
    int32_t low, high;  // defects
    float price;
    int32_t low_visit, high_visit, column;
    int32_t next[2];  // in the lists of `low` and of `high`, see `Defect`
};

// The best of a subset of a cluster's defects: what becomes of its last one.
struct Subset {
    int64_t epoch;  // the cluster
    float price;
    int32_t mate;  // -1: alone
};

class Shot {
  public:
    explicit Shot(const Graph& graph)
        : graph_(graph), syndrome_((graph.detectors + 63) / 64), here_(graph.detectors, -1),
          group_at_(graph.detectors, -1), changed_(graph.columns, 0),
          best_(size_t{1} << kFewInCluster, {0, 0, 0}) {}

    // Writes the committed moves; false if the shot is left unsolved.
    bool solve(const float* logits, const uint8_t* packed, double doubt, uint8_t* committed, float* dearest) {
        logits_ = logits;
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
        for (const Visit& visit : visits_) here_[visit.node] = -1;
        return solved;
    }

  private:
    float price(int32_t column) const {
        const float size = std::fabs(logits_[column]);
        return size < kDearest ? size : kDearest;
    }

    bool explain() {
        defects_.clear(), visits_.clear(), pairs_.clear();
        steps_ = 0;
        bits::for_each(syndrome_, [&](int32_t node) { add_defect(node); });
        if (pair_with_.size() < defects_.size()) pair_with_.resize(defects_.size(), -1);
        unsure_.resize(defects_.size());
        std::iota(unsure_.begin(), unsure_.end(), 0);
        round_ = 0;
        while (!unsure_.empty()) {
            for (int32_t u : unsure_) {
                if (!grow(u)) return false;
            }
            if (!solve_clusters()) return false;
            // All that are left over now were in a cluster with one that grew.
            unsure_.clear();
            for (int32_t u = 0; u < count(); u++) {
                Defect& defect = defects_[u];
                if (defect.mate != kLeft) continue;
                unsure_.push_back(u);
                defect.radius = std::min(defect.radius * kGrowth, std::max(defect.boundary, defect.radius));
                if (defect.radius > kLastRadius) return false;
            }
        }
        return true;
    }

    int32_t count() const { return static_cast<int32_t>(defects_.size()); }

    void add_defect(int32_t node) {
        const int32_t u = count(), root = static_cast<int32_t>(visits_.size());
        visits_.push_back({0, kSurface, node, u, -1, -1, here_[node], -1});
        here_[node] = root;
        defects_.push_back({kFirstRadius, kInfinity, -1, -1, root, -1, -1, 0, -1, kLeft});
    }

    // False where it takes too long.
    bool grow(int32_t u) {
        for_each_pair(u, [&](int32_t pair, int32_t other) { pair_with_[other] = pair; });
        const bool grown = look_further(u);
        for_each_pair(u, [&](int32_t, int32_t other) { pair_with_[other] = -1; });
        return grown;
    }

    template <class Visitor>
    void for_each_pair(int32_t u, Visitor visit) const {
        for (int32_t side = defects_[u].pairs; side >= 0; side = pairs_[side / 2].next[side % 2]) {
            const Pair& pair = pairs_[side / 2];
            visit(side / 2, side % 2 ? pair.low : pair.high);
        }
    }

    // Dijkstra's algorithm from where the ball ended before.
    bool look_further(int32_t u) {
        heap_.clear();
        Defect& defect = defects_[u];
        if (defect.visits < 0) {
            push(defect.root);
        } else {
            for (int32_t v = defect.visits; v >= 0; v = visits_[v].next_of_defect) {
                if (visits_[v].beyond <= defect.radius) expand<false>(v);
            }
        }
        while (!heap_.empty()) {
            std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
            const int32_t v = static_cast<int32_t>(heap_.back());
            heap_.pop_back();
            Visit& visit = visits_[v];
            if (visit.beyond != kSurface) continue;
            if (visit.distance > defect.reach()) break;
            visit.next_of_defect = defect.visits;
            defect.visits = v;
            expand<true>(v);
            if (steps_ > kMostSteps + kMostStepsPerDetector * graph_.detectors) return false;
        }
        return true;
    }

    // The heap's keys are distances, which are not negative, so that their bits are in order; then visits.
    void push(int32_t v) {
        __builtin_prefetch(graph_.arcs + graph_.starts[visits_[v].node]);
        uint32_t bits;
        std::memcpy(&bits, &visits_[v].distance, sizeof bits);
        heap_.push_back(static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(v));
        std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
    }

    // Looks along all moves from a visited node: for new nodes of the ball and, the first time, for the
    // boundary and other balls. A ball that gets there later meets this one from its own side.
    template <bool first>
    void expand(int32_t v) {
        const Visit from = visits_[v];
        Defect& defect = defects_[from.defect];
        const Arc* arc = graph_.arcs + graph_.starts[from.node];
        const Arc* const end = graph_.arcs + graph_.starts[from.node + 1];
        float reach = defect.reach(), beyond = kInfinity;
        steps_ += end - arc;
        // A large patch's logits are not in the nearest caches: all misses at once.
        for (const Arc* next = arc; next != end; next++) {
            __builtin_prefetch(logits_ + next->column);
            __builtin_prefetch(here_.data() + std::max(next->target, 0));
        }
        for (; arc != end; arc++) {
            const float distance = from.distance + price(arc->column);
            if (!first && distance < from.beyond) continue;
            if (arc->target < 0) {
                if (first && distance < defect.boundary) {
                    defect.boundary = distance;
                    defect.boundary_visit = v;
                    defect.boundary_column = arc->column;
                    reach = defect.reach();
                }
                continue;
            }
            const int32_t top = here_[arc->target];
            if (distance > reach) {
                beyond = std::min(beyond, distance);
                if (!first || top < 0) continue;
            }
            int32_t own = top;
            while (own >= 0 && visits_[own].defect != from.defect) own = visits_[own].next_here, steps_++;
            // What is nearer another way met or will meet others there.
            if (own >= 0 && visits_[own].distance <= distance) continue;
            if (first) {
                for (int32_t w = top; w >= 0; w = visits_[w].next_here) {
                    steps_++;
                    if (w == own) continue;
                    meet(from.defect, v, visits_[w].defect, w, arc->column, distance + visits_[w].distance);
                }
            }
            if (distance > reach) continue;
            if (own < 0) {
                own = static_cast<int32_t>(visits_.size());
                visits_.push_back({distance, kSurface, arc->target, from.defect, v, arc->column, top, -1});
                here_[arc->target] = own;
            } else {
                visits_[own].distance = distance;
                visits_[own].parent = v;
                visits_[own].column = arc->column;
            }
            push(own);
        }
        visits_[v].beyond = beyond;
    }

    // Keeps the shortest path between two defects, whether or not it is within their radii yet.
    void meet(int32_t a, int32_t v, int32_t b, int32_t w, int32_t column, float price) {
        // Both alone never cost more than this.
        if (price > defects_[a].boundary + defects_[b].boundary) return;
        int32_t& found = pair_with_[b];
        if (a > b) std::swap(a, b), std::swap(v, w);
        if (found < 0) {
            found = static_cast<int32_t>(pairs_.size());
            pairs_.push_back({a, b, price, v, w, column, {defects_[a].pairs, defects_[b].pairs}});
            defects_[a].pairs = 2 * found, defects_[b].pairs = 2 * found + 1;
        } else if (price < pairs_[found].price) {
            Pair& pair = pairs_[found];
            pair.price = price;
            pair.low_visit = v, pair.high_visit = w, pair.column = column;
        }
    }

    bool matters(const Pair& pair) const {
        return pair.price <= defects_[pair.low].reach() + defects_[pair.high].reach();
    }

    // Solves every cluster with a defect that was left over, and so grew; false if one is too large.
    bool solve_clusters() {
        round_++;
        for (int32_t u : unsure_) {
            if (defects_[u].round == round_) continue;
            find_cluster(u);
            if (cluster_.size() > kMostInCluster) return false;
            solve_cluster();
        }
        return true;
    }

    // All that pairs connect to a defect, in order.
    void find_cluster(int32_t u) {
        cluster_.assign(1, u);
        defects_[u].round = round_;
        for (size_t k = 0; k < cluster_.size(); k++) {
            for_each_pair(cluster_[k], [&](int32_t pair, int32_t other) {
                if (defects_[other].round == round_ || !matters(pairs_[pair])) return;
                defects_[other].round = round_;
                cluster_.push_back(other);
            });
        }
        std::sort(cluster_.begin(), cluster_.end());
    }

    void solve_cluster() {
        const int32_t size = static_cast<int32_t>(cluster_.size());
        if (size == 1) return alone(defects_[cluster_[0]]);
        for (int32_t i = 0; i < size; i++) defects_[cluster_[i]].place = i;
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
            for_each_pair(u, [&](int32_t pair, int32_t other) {
                if (other < u) return;  // once
                const int64_t alone = units(defects_[u].reach()) + units(defects_[other].reach());
                const int64_t saved = alone - units(pairs_[pair].price);
                if (saved <= 0) return;
                savings_.add_edge(defects_[u].place, defects_[other].place, saved);
                edges_.push_back(pair);
            });
        }
        savings_.solve();
        for (size_t i = 0; i < cluster_.size(); i++) {
            const int32_t edge = savings_.edge_of(static_cast<int32_t>(i));
            if (edge < 0) {
                alone(defects_[cluster_[i]]);
            } else {
                defects_[cluster_[i]].mate = edges_[edge];
            }
        }
    }

    static int64_t units(float price) { return static_cast<int64_t>(kUnits * price + 0.5); }

    void solve_by_subsets() {
        const int32_t size = static_cast<int32_t>(cluster_.size());
        for (int32_t i = 0; i < size; i++) {
            mates_[i] = 0;
            single_[i] = defects_[cluster_[i]].reach();
        }
        for (int32_t i = 0; i < size; i++) {
            for_each_pair(cluster_[i], [&](int32_t pair, int32_t other) {
                if (other < cluster_[i] || !matters(pairs_[pair])) return;
                const int32_t j = defects_[other].place;
                pair_of_[j][i] = pair;
                price_of_[j][i] = pairs_[pair].price;
                mates_[j] |= 1u << i;
            });
        }
        epoch_++;
        uint32_t subset = (1u << size) - 1;
        cheapest(subset);
        while (subset) {
            const int last = 31 - __builtin_clz(subset), mate = best_[subset].mate;
            subset ^= 1u << last;
            if (mate < 0) {
                alone(defects_[cluster_[last]]);
            } else {
                subset ^= 1u << mate;
                defects_[cluster_[last]].mate = defects_[cluster_[mate]].mate = pair_of_[last][mate];
            }
        }
    }

    // Lowest price of a subset of the cluster. Its last defect is alone, or has a mate among the others; as
    // defects are in order of their detectors, few subsets come up.
    float cheapest(uint32_t members) {
        if (!members) return 0;
        Subset& best = best_[members];
        if (best.epoch == epoch_) return best.price;
        const int last = 31 - __builtin_clz(members);
        const uint32_t rest = members ^ 1u << last;
        float lowest = kInfinity;
        int mate = -1;
        for (uint32_t left = mates_[last] & rest; left; left &= left - 1) {
            const int j = __builtin_ctz(left);
            const float total = cheapest(rest ^ 1u << j) + price_of_[last][j];
            if (total < lowest) lowest = total, mate = j;
        }
        const float alone = cheapest(rest) + single_[last];
        if (alone < lowest) lowest = alone, mate = -1;
        best = {epoch_, lowest, mate};
        return lowest;
    }

    static void alone(Defect& defect) {
        defect.mate = defect.boundary <= defect.radius ? kAlone : kLeft;
    }

    // Moves on an odd number of the paths.
    void collect_changes() {
        changes_.clear();
        for (int32_t u = 0; u < count(); u++) {
            const Defect& defect = defects_[u];
            if (defect.mate == kAlone) {
                change(defect.boundary_column);
                change_to_root(defect.boundary_visit);
            } else if (pairs_[defect.mate].low == u) {
                const Pair& pair = pairs_[defect.mate];
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
        for (; visits_[v].parent >= 0; v = visits_[v].parent) change(visits_[v].column);
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
    int64_t steps_ = 0;
    std::vector<uint64_t> syndrome_;
    std::vector<int32_t> here_;      // per node: its visits, a list
    std::vector<int32_t> group_at_;  // per node: a change that touches it
    std::vector<uint8_t> changed_;   // per column
    std::vector<int32_t> positive_, changes_, group_;
    std::vector<double> cost_;
    std::vector<Defect> defects_;
    std::vector<Visit> visits_;
    std::vector<Pair> pairs_;
    std::vector<int32_t> pair_with_;  // per defect: its pair with the one that grows, -1
    std::vector<uint64_t> heap_;
    std::vector<int32_t> unsure_;  // defects that were left over
    int32_t round_ = 0;  // of growing
    std::vector<int32_t> cluster_;  // the one at hand: defects
    // If it is large: what its pairs save, and the pair of every edge.
    HeaviestMatching savings_;
    std::vector<int32_t> edges_;
    // If it is small: prices of its defects alone and in pairs, the earlier one second.
    float single_[kFewInCluster], price_of_[kFewInCluster][kFewInCluster];
    int32_t pair_of_[kFewInCluster][kFewInCluster];
    uint32_t mates_[kFewInCluster];
    std::vector<Subset> best_;  // its defects are bits of the index
    int64_t epoch_ = 0;         // clusters so far
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
