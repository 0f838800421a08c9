// The likeliest explanation of a shot by a matching on its logits: see predecoder/matching.py.
//
// Defects are what the moves with a positive logit leave of the syndrome. They are explained by changing
// moves at the price |logit|, at the lowest price in all: a minimum-weight matching of the defects with
// each other and with the boundary, d(u, v) and b(u) being the lowest prices of paths.
//
// Every defect u has a radius r(u), and a ball of the nodes that are not further from it, but no further
// than b(u) either. What is solved is a relaxed problem, in which u may also be left over, for r(u). In it
// only pairs with d(u, v) <= min(r, b)(u) + min(r, b)(v) matter, as both ends cost no more alone, and those
// are the pairs whose balls meet. So the problem falls into small clusters of defects, which are solved by
// dynamic programming. A solution that leaves nothing over is the cheapest one of the whole problem: any
// other becomes one of the relaxed problem, at no higher price, if all that does not matter is left over.
// As long as defects are left over, their radii grow.
//
// A shot's result depends on nothing but that shot. Shots that would take long (large clusters, large
// balls) are handed back unsolved.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "bits.h"

namespace {

constexpr float kDearest = 1000.0f;      // no |logit| counts for more
constexpr float kFirstRadius = 2.0f;     // fastest with trained weights, as is the next
constexpr float kGrowth = 1.6f;          // of the radius of a defect that is left over
constexpr float kLastRadius = 10000.0f;  // what Python's matching leaves a defect over for
constexpr int kMostDefects = 2048;       // in a shot: a table of all their pairs takes 16 MB
constexpr int kMostInCluster = 64;       // of them, in a cluster: bits of a subset
constexpr int kTableBits = 15;           // of the table of subsets of a cluster, half of it used at most
constexpr int kFewInCluster = 10;        // with no more, a table of all subsets is small
// Steps of the search in one shot: some ten times what trained weights need, and less than Python takes.
constexpr int64_t kMostSteps = 20000, kMostStepsPerDetector = 50;
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
    int32_t visits, pairs;  // lists
    int32_t cluster;
    int32_t mate;  // pair, or kAlone, kLeft
    bool unsure;

    float reach() const { return std::min(radius, boundary); }
};
constexpr int32_t kAlone = -1, kLeft = -2;

// A path between two defects: up to two visits and across one move.
struct Pair {
    int32_t low, high;  // defects
    float price;
    int32_t low_visit, high_visit, column;
    int32_t next;  // of `low`
};

// The best of a subset of a cluster's defects: what becomes of its last one.
struct Subset {
    int64_t epoch;  // the cluster
    uint64_t members;
    float price;
    int32_t mate;  // -1: alone
};

class Shot {
  public:
    explicit Shot(const Graph& graph)
        : graph_(graph), syndrome_((graph.detectors + 63) / 64), here_(graph.detectors, -1),
          group_at_(graph.detectors, -1), changed_(graph.columns, 0) {}

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
        for (const Pair& pair : pairs_) pair_at_[static_cast<int64_t>(pair.low) * count() + pair.high] = -1;
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
        if (count() > kMostDefects) return false;
        const size_t pairs = defects_.size() * defects_.size();
        if (pair_at_.size() < pairs) pair_at_.resize(pairs, -1);
        bool growing = !defects_.empty();
        while (growing) {
            for (int32_t u = 0; u < count(); u++) {
                if (defects_[u].unsure && !grow(u)) return false;
            }
            if (!solve_clusters()) return false;
            growing = false;
            for (Defect& defect : defects_) {
                defect.unsure = defect.mate == kLeft;
                if (!defect.unsure) continue;
                growing = true;
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
        defects_.push_back({kFirstRadius, kInfinity, -1, -1, root, -1, -1, -1, kLeft, true});
    }

    // Dijkstra's algorithm from where the ball ended before.
    bool grow(int32_t u) {
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
        const Arc* end = graph_.arcs + graph_.starts[from.node + 1];
        const int32_t* here = here_.data();
        float beyond = kInfinity;
        int64_t steps = end - arc;
        for (; arc != end; arc++) {
            const float distance = from.distance + price(arc->column);
            if (!first && (distance < from.beyond || arc->target < 0)) continue;
            if (arc->target < 0) {
                if (distance < defect.boundary) {
                    defect.boundary = distance;
                    defect.boundary_visit = v;
                    defect.boundary_column = arc->column;
                }
                continue;
            }
            if (!first && distance > defect.reach()) {
                beyond = std::min(beyond, distance);
                continue;
            }
            int32_t own = -1;
            const Visit* visits = visits_.data();
            for (int32_t w = here[arc->target]; w >= 0; w = visits[w].next_here) {
                steps++;
                if (visits[w].defect == from.defect) {
                    own = w;
                } else if (first) {
                    meet(from.defect, v, visits[w].defect, w, arc->column, distance + visits[w].distance);
                }
            }
            if (distance > defect.reach()) {
                beyond = std::min(beyond, distance);
            } else if (own < 0) {
                own = static_cast<int32_t>(visits_.size());
                visits_.push_back(
                    {distance, kSurface, arc->target, from.defect, v, arc->column, here[arc->target], -1});
                here_[arc->target] = own;
                push(own);
            } else if (distance < visits[own].distance) {
                visits_[own].distance = distance;
                visits_[own].parent = v;
                visits_[own].column = arc->column;
                push(own);
            }
        }
        visits_[v].beyond = beyond;
        steps_ += steps;
    }

    // Keeps the shortest path between two defects, whether or not it is within their radii yet.
    void meet(int32_t a, int32_t v, int32_t b, int32_t w, int32_t column, float price) {
        // Both alone never cost more than this.
        if (price > defects_[a].boundary + defects_[b].boundary) return;
        if (a > b) std::swap(a, b), std::swap(v, w);
        int32_t& found = pair_at_[static_cast<int64_t>(a) * count() + b];
        if (found < 0) {
            found = static_cast<int32_t>(pairs_.size());
            pairs_.push_back({a, b, price, v, w, column, defects_[a].pairs});
            defects_[a].pairs = found;
        } else if (price < pairs_[found].price) {
            Pair& pair = pairs_[found];
            pair.price = price;
            pair.low_visit = v, pair.high_visit = w, pair.column = column;
        }
    }

    int32_t cluster_of(int32_t u) {
        while (defects_[u].cluster != u) u = defects_[u].cluster = defects_[defects_[u].cluster].cluster;
        return u;
    }

    bool matters(const Pair& pair) const {
        return pair.price <= defects_[pair.low].reach() + defects_[pair.high].reach();
    }

    // Solves every cluster with a defect whose ball grew; false if one is too large.
    bool solve_clusters() {
        for (int32_t u = 0; u < count(); u++) defects_[u].cluster = u;
        for (const Pair& pair : pairs_) {
            // The first defect of a cluster stands for it, so its members follow it in order.
            if (!matters(pair)) continue;
            const int32_t a = cluster_of(pair.low), b = cluster_of(pair.high);
            defects_[std::max(a, b)].cluster = std::min(a, b);
        }
        members_.resize(std::max(members_.size(), defects_.size()));
        for (int32_t u = 0; u < count(); u++) members_[u].clear();
        for (int32_t u = 0; u < count(); u++) members_[cluster_of(u)].push_back(u);
        for (int32_t u = 0; u < count(); u++) {
            const std::vector<int32_t>& cluster = members_[u];
            if (cluster.size() > kMostInCluster) return false;
            const bool grown = std::any_of(cluster.begin(), cluster.end(),
                                           [&](int32_t member) { return defects_[member].unsure; });
            if (grown && !solve_cluster(cluster)) return false;
        }
        return true;
    }

    // False if too many come up.
    bool solve_cluster(const std::vector<int32_t>& cluster) {
        const int size = static_cast<int>(cluster.size());
        if (size == 1) {
            alone(defects_[cluster[0]]);
            return true;
        }
        for (int i = 0; i < size; i++) {
            mates_[i] = 0;
            single_[i] = defects_[cluster[i]].reach();
        }
        for (int i = 0; i < size; i++) {
            for (int32_t k = defects_[cluster[i]].pairs; k >= 0; k = pairs_[k].next) {
                if (!matters(pairs_[k])) continue;
                const auto high = std::lower_bound(cluster.begin(), cluster.end(), pairs_[k].high);
                const int j = static_cast<int>(high - cluster.begin());
                pair_of_[j][i] = k;
                price_of_[j][i] = pairs_[k].price;
                mates_[j] |= uint64_t{1} << i;
            }
        }
        const size_t table = size_t{1} << (size <= kFewInCluster ? kFewInCluster : kTableBits);
        if (best_.size() < table) best_.assign(table, {0, 0, 0, 0});
        table_mask_ = best_.size() - 1;
        epoch_++;
        known_ = 0;
        uint64_t subset = ~uint64_t{0} >> (64 - size);
        cheapest(subset);
        if (known_ > kMostKnown) return false;
        while (subset) {
            const int last = 63 - __builtin_clzll(subset), mate = slot_of(subset).mate;
            subset ^= uint64_t{1} << last;
            if (mate < 0) {
                alone(defects_[cluster[last]]);
            } else {
                subset ^= uint64_t{1} << mate;
                defects_[cluster[last]].mate = defects_[cluster[mate]].mate = pair_of_[last][mate];
            }
        }
        return true;
    }

    // Where a subset of the cluster is in the table, or would be.
    Subset& slot_of(uint64_t members) {
        // The members themselves where they fit, and otherwise mixed.
        uint64_t at = (members ^ (((members >> kTableBits) * 0x9E3779B97F4A7C15u) >> 40)) & table_mask_;
        while (best_[at].epoch == epoch_ && best_[at].members != members) at = (at + 1) & table_mask_;
        return best_[at];
    }

    // Lowest price of a subset of the cluster. Its last defect is alone, or has a mate among the others; as
    // defects are in order of their detectors, few subsets come up. Meaningless once too many have.
    float cheapest(uint64_t members) {
        if (!members || known_ > kMostKnown) return 0;
        const Subset& known = slot_of(members);
        if (known.epoch == epoch_) return known.price;
        const int last = 63 - __builtin_clzll(members);
        const uint64_t rest = members ^ uint64_t{1} << last;
        float lowest = kInfinity;
        int mate = -1;
        for (uint64_t left = mates_[last] & rest; left; left &= left - 1) {
            const int j = __builtin_ctzll(left);
            const float total = cheapest(rest ^ uint64_t{1} << j) + price_of_[last][j];
            if (total < lowest) lowest = total, mate = j;
        }
        const float alone = cheapest(rest) + single_[last];
        if (alone < lowest) lowest = alone, mate = -1;
        if (++known_ <= kMostKnown) slot_of(members) = {epoch_, members, lowest, mate};
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
    std::vector<int32_t> pair_at_;  // per two defects, the lower one first
    std::vector<uint64_t> heap_;
    std::vector<std::vector<int32_t>> members_;
    // The cluster at hand: prices of its defects alone and in pairs, the earlier one second; and of subsets.
    float single_[kMostInCluster], price_of_[kMostInCluster][kMostInCluster];
    int32_t pair_of_[kMostInCluster][kMostInCluster];
    uint64_t mates_[kMostInCluster];
    static constexpr int64_t kMostKnown = int64_t{1} << (kTableBits - 1);
    std::vector<Subset> best_;
    uint64_t table_mask_ = 0;
    int64_t epoch_ = 0, known_ = 0;  // subsets
};

}  // namespace

// Returns how many shots are left unsolved; `unsolved` says which. Their moves are all 0.
//
// logits: float (shots, columns). packed: (shots, ceil(detectors / 8)), LSB first. arcs: (starts[detectors],
// 2) of target and column. Out: committed 0/1 (shots, columns), nothing where a group of changes costs more than
// `doubt`; dearest (shots,), that price; unsolved 0/1 (shots,).
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
