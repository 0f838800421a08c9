// Paths of moves between defects and to the boundary: the regions of move_matching.cpp, and where they meet.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

namespace paths {

constexpr float kDearest = 1000.0f;   // no |logit| counts for more
constexpr float kFirstRadius = 2.0f;  // fastest with trained weights
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

// A node in a defect's region or, until it is expanded, on its surface.
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
    float boundary;  // weight of the best way found
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
    float weight;
    int32_t low_visit, high_visit, column;
    int32_t next[2];  // in the lists of `low` and of `high`, see `Defect`
};

// The regions of one shot's defects.
class Regions {
  public:
    explicit Regions(const Graph& graph) : graph_(graph), here_(graph.detectors, -1) {}

    // Forgets the last shot.
    void begin(const float* logits) {
        logits_ = logits;
        for (const Visit& visit : visits_) here_[visit.node] = -1;
        defects_.clear(), visits_.clear(), pairs_.clear();
        steps_ = 0;
    }

    void add_defect(int32_t node) {
        const int32_t u = count(), root = static_cast<int32_t>(visits_.size());
        visits_.push_back({0, kSurface, node, u, -1, -1, here_[node], -1});
        here_[node] = root;
        defects_.push_back({kFirstRadius, kInfinity, -1, -1, root, -1, -1, 0, -1, kLeft});
        if (pair_with_.size() < defects_.size()) pair_with_.push_back(-1);
    }

    // False where it takes too long.
    bool grow(int32_t u) {
        for_each_pair(u, [&](int32_t pair, int32_t other) { pair_with_[other] = pair; });
        const bool grown = look_further(u);
        for_each_pair(u, [&](int32_t, int32_t other) { pair_with_[other] = -1; });
        return grown;
    }

    int32_t count() const { return static_cast<int32_t>(defects_.size()); }
    Defect& defect(int32_t u) { return defects_[u]; }
    const Pair& pair(int32_t k) const { return pairs_[k]; }
    const Visit& visit(int32_t v) const { return visits_[v]; }

    template <class Visitor>
    void for_each_pair(int32_t u, Visitor visit) const {
        for (int32_t side = defects_[u].pairs; side >= 0; side = pairs_[side / 2].next[side % 2]) {
            const Pair& pair = pairs_[side / 2];
            visit(side / 2, side % 2 ? pair.low : pair.high);
        }
    }

    bool matters(const Pair& pair) const {
        return pair.weight <= defects_[pair.low].reach() + defects_[pair.high].reach();
    }

  private:
    float weight(int32_t column) const {
        const float size = std::fabs(logits_[column]);
        return size < kDearest ? size : kDearest;
    }

    // Dijkstra's algorithm from where the region ended before.
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

    // Looks along all moves from a visited node: for new nodes of the region and, the first time, for the
    // boundary and other regions. A region that gets there later meets this one from its own side.
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
            const float distance = from.distance + weight(arc->column);
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
    void meet(int32_t a, int32_t v, int32_t b, int32_t w, int32_t column, float weight) {
        // Both unpaired never weigh more than this.
        if (weight > defects_[a].boundary + defects_[b].boundary) return;
        int32_t& found = pair_with_[b];
        if (a > b) std::swap(a, b), std::swap(v, w);
        if (found < 0) {
            found = static_cast<int32_t>(pairs_.size());
            pairs_.push_back({a, b, weight, v, w, column, {defects_[a].pairs, defects_[b].pairs}});
            defects_[a].pairs = 2 * found, defects_[b].pairs = 2 * found + 1;
        } else if (weight < pairs_[found].weight) {
            Pair& pair = pairs_[found];
            pair.weight = weight;
            pair.low_visit = v, pair.high_visit = w, pair.column = column;
        }
    }

    const Graph graph_;
    const float* logits_ = nullptr;
    int64_t steps_ = 0;
    std::vector<int32_t> here_;  // per node: its visits, a list
    std::vector<Defect> defects_;
    std::vector<Visit> visits_;
    std::vector<Pair> pairs_;
    std::vector<int32_t> pair_with_;  // per defect: its pair with the one that grows, -1
    std::vector<uint64_t> heap_;
};

}  // namespace paths
