// Heaviest matchings of graphs of any kind, not only bipartite ones: Edmonds' blossom algorithm.
//
// It keeps a matching and prices that prove it to be the heaviest. A vertex has a price y >= 0, a blossom (an
// odd set of vertices that is matched inside but for one, its base) a price z >= 0, and every edge u-v has
// y(u) + y(v) + (the z of the blossoms around both) >= weight. The weight of any matching is thus at most the
// sum of all y and of z times the pairs that fit into a blossom. Ours reaches it in the end: its edges are
// tight, blossoms with z > 0 are full, and vertices without a mate have y = 0.
//
// Vertices without a mate whose y is not 0 yet are dealt with one after the other, so that work stays where
// there is something left to do. Each is the root of a tree of alternating paths of tight edges. The nodes of
// the tree, vertices and outermost blossoms, are even or odd by the number of edges to the root. As time
// passes, y falls by 1 in even nodes and rises by 1 in odd ones, which keeps the edges of the tree tight,
// and one of these happens:
//  - an edge from an even node to one outside the tree becomes tight: it joins, together with its mate;
//  - an edge between even nodes becomes tight: the cycle that it closes is shrunk to an even blossom;
//  - z of an odd blossom, which falls by 2, reaches 0: it is replaced by what it consists of;
//  - an edge to a node without a mate becomes tight: the path to the root is flipped, and has one pair more;
//  - y of an even vertex reaches 0: the path is flipped, and it is without a mate instead of the root.
// The last two are the end of the search, known in advance once the edge or the vertex is seen; what comes
// later need not be looked at. A search takes O(m log m) for m edges, and O(n^2) for blossoms at most.
//
// Weights are doubled. Then everything stays whole: on tight edges both ends have the same y modulo 2, so
// the time until an edge between two even nodes of a tree becomes tight is whole, as is half of every z.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

class HeaviestMatching {
  public:
    // A graph without edges. Memory of earlier ones is used again.
    void clear(int32_t vertices) {
        vertices_ = vertices;
        ends_.clear(), weights_.clear();
    }

    // Edges are numbered 0, 1, ...; `weight` is positive, and n times the largest one is below 2^60.
    void add_edge(int32_t u, int32_t v, int64_t weight) {
        ends_.push_back(u), ends_.push_back(v);
        weights_.push_back(2 * weight);
    }

    // The edge to a vertex's mate, -1 without one.
    int32_t edge_of(int32_t vertex) const { return match_[vertex] < 0 ? -1 : match_[vertex] >> 1; }

    void solve() {
        prepare();
        match_greedily();
        for (int32_t v = 0; v < vertices_; v++) {
            if (match_[v] < 0 && nodes_[v].dual > 0) search(v);
        }
    }

  private:
    enum Label : int8_t { kOutside, kEven, kOdd };

    // A vertex, numbered as such, or a blossom, whose number is above those of vertices.
    struct Node {
        int64_t dual;  // y or z is dual + slope * time
        int32_t slope;
        Label label;      // where it is in no blossom
        int32_t via;      // if odd: arc from its parent in the tree
        int32_t base;     // vertex
        int32_t blossom;  // that it is a child of, -1
        int32_t first;    // of its children, which form a cycle: the one with the base
        // In the cycle, in which those after the first are mates in pairs: second and third, and so on.
        int32_t next, previous;
        int32_t link;  // arc to the next one
        int32_t seen;  // the last cycle that was looked for from here
    };

    // When something may happen: an arc becomes tight or, if negative, ~a blossom's z reaches 0.
    struct Event {
        int64_t time;
        int32_t what;

        bool operator<(const Event& other) const {
            // Heaps have the largest on top.
            return time != other.time ? time > other.time : what > other.what;
        }
    };

    // An edge e is two arcs, 2e and 2e + 1, one in each direction.
    int32_t source(int32_t arc) const { return ends_[arc]; }
    int32_t target(int32_t arc) const { return ends_[arc ^ 1]; }
    Label label_at(int32_t vertex) const { return nodes_[outer_[vertex]].label; }
    int64_t value(int32_t node) const { return nodes_[node].dual + nodes_[node].slope * time_; }

    // Only of arcs that are in no blossom.
    int64_t slack(int32_t arc) const { return value(source(arc)) + value(target(arc)) - weights_[arc >> 1]; }

    void set_slope(int32_t node, int32_t slope) {
        nodes_[node].dual += (nodes_[node].slope - slope) * time_;
        nodes_[node].slope = slope;
    }

    void prepare() {
        const int32_t arcs = static_cast<int32_t>(ends_.size());
        starts_.assign(vertices_ + 1, 0);
        for (int32_t end : ends_) starts_[end]++;
        for (int32_t v = 0, sum = 0; v <= vertices_; v++) starts_[v] = sum += starts_[v];
        arcs_.resize(arcs);
        for (int32_t arc = arcs - 1; arc >= 0; arc--) arcs_[--starts_[source(arc)]] = arc;
        nodes_.resize(vertices_ + vertices_ / 2);  // every blossom has a pair of its own
        match_.assign(vertices_, -1);
        outer_.resize(vertices_);
        for (int32_t v = 0; v < vertices_; v++) {
            nodes_[v] = {0, 0, kOutside, -1, v, -1, -1, -1, -1, -1, 0};
            outer_[v] = v;
        }
        free_.clear();
        for (int32_t b = static_cast<int32_t>(nodes_.size()) - 1; b >= vertices_; b--) free_.push_back(b);
        time_ = cycles_ = 0;
    }

    // Half the heaviest edge for all, then as little as the neighbours' prices leave.
    void match_greedily() {
        for (size_t arc = 0; arc < ends_.size(); arc++) {
            int64_t& dual = nodes_[ends_[arc]].dual;
            dual = std::max(dual, weights_[arc >> 1] / 2);
        }
        for (int32_t v = 0; v < vertices_; v++) {
            if (match_[v] >= 0) continue;
            int64_t lowest = 0;
            int32_t tight = -1;
            for (int32_t k = starts_[v]; k < starts_[v + 1]; k++) {
                const int32_t w = target(arcs_[k]);
                const int64_t least = weights_[arcs_[k] >> 1] - nodes_[w].dual;
                if (least > lowest || (least == lowest && match_[w] < 0)) {
                    lowest = least;
                    tight = match_[w] < 0 ? arcs_[k] : -1;
                }
            }
            nodes_[v].dual = lowest;
            if (tight >= 0) match_[v] = tight, match_[target(tight)] = tight ^ 1;
        }
    }

    void search(int32_t root) {
        time_ = 0;
        end_ = std::numeric_limits<int64_t>::max();
        events_.clear(), touched_.clear();
        make_even(outer_[root]);
        look_around(outer_[root]);
        while (!events_.empty() && events_.front().time < end_) {
            std::pop_heap(events_.begin(), events_.end());
            const Event event = events_.back();
            events_.pop_back();
            time_ = event.time;
            // What has changed since it was foreseen was looked at again.
            if (event.what < 0) {
                const int32_t blossom = ~event.what;
                if (nodes_[blossom].label == kOdd && value(blossom) == 0) expand(blossom);
            } else if (outer_[source(event.what)] != outer_[target(event.what)] && slack(event.what) == 0) {
                const Label label = label_at(target(event.what));
                if (label == kOutside) grow(event.what);
                if (label == kEven) shrink(event.what);
            }
        }
        time_ = end_;
        flip_path();
        for (int32_t v : touched_) {
            set_slope(v, 0);
            set_slope(outer_[v], 0);
            nodes_[outer_[v]].label = kOutside;
        }
    }

    template <class Visitor>
    void for_each_vertex(int32_t node, Visitor visit) {
        if (node < vertices_) return visit(node);
        for_each_child(node, [&](int32_t child) { for_each_vertex(child, visit); });
    }

    template <class Visitor>
    void for_each_child(int32_t blossom, Visitor visit) {
        const int32_t first = nodes_[blossom].first;
        int32_t child = first;
        do {
            visit(child);
            child = nodes_[child].next;
        } while (child != first);
    }

    void foresee(int64_t time, int32_t what) {
        if (time >= end_) return;
        events_.push_back({time, what});
        std::push_heap(events_.begin(), events_.end());
    }

    void set_slopes(int32_t node, int32_t of_vertices, int32_t of_blossom) {
        for_each_vertex(node, [&](int32_t v) {
            if (nodes_[v].slope == 0) touched_.push_back(v);
            set_slope(v, of_vertices);
        });
        if (node >= vertices_) set_slope(node, of_blossom);
    }

    void make_even(int32_t node) {
        nodes_[node].label = kEven;
        set_slopes(node, -1, 2);
    }

    void make_odd(int32_t node, int32_t via) {
        nodes_[node].label = kOdd;
        nodes_[node].via = via;
        set_slopes(node, 1, -2);
        if (node >= vertices_) foresee(time_ + value(node) / 2, ~node);
    }

    // Foresees what happens to an even node's vertices.
    void look_around(int32_t node) {
        for_each_vertex(node, [&](int32_t v) {
            if (time_ + value(v) < end_) end_ = time_ + value(v), last_arc_ = -1, last_ = v;
            for (int32_t k = starts_[v]; k < starts_[v + 1]; k++) {
                const int32_t arc = arcs_[k], other = outer_[target(arc)];
                if (other == outer_[v] || nodes_[other].label == kOdd) continue;
                if (nodes_[other].label == kEven) {
                    foresee(time_ + slack(arc) / 2, arc);
                } else if (match_[nodes_[other].base] >= 0) {
                    foresee(time_ + slack(arc), arc);
                } else if (time_ + slack(arc) < end_) {
                    end_ = time_ + slack(arc), last_arc_ = arc, last_ = v;
                }
            }
        });
    }

    void grow(int32_t arc) {
        const int32_t odd = outer_[target(arc)], even = outer_[target(match_[nodes_[odd].base])];
        make_odd(odd, arc);
        make_even(even);
        look_around(even);
    }

    // Arc to the parent in the tree, -1 at the root.
    int32_t up(int32_t node) const {
        return nodes_[node].label == kEven ? match_[nodes_[node].base] : nodes_[node].via ^ 1;
    }

    void connect(int32_t child, int32_t arc) {
        const int32_t next = outer_[target(arc)];
        nodes_[child].next = next, nodes_[child].link = arc, nodes_[next].previous = child;
    }

    void shrink(int32_t arc) {
        const int32_t ends[] = {outer_[source(arc)], outer_[target(arc)]};
        // The last common node of the ways to the root.
        cycles_++;
        const auto parent = [&](int32_t node) { return up(node) < 0 ? -1 : outer_[target(up(node))]; };
        for (int32_t node = ends[0]; node >= 0; node = parent(node)) nodes_[node].seen = cycles_;
        int32_t stem = ends[1];
        while (nodes_[stem].seen != cycles_) stem = parent(stem);

        for (int32_t node = ends[0]; node != stem; node = parent(node)) {
            connect(outer_[target(up(node))], up(node) ^ 1);
        }
        connect(ends[0], arc);
        for (int32_t node = ends[1]; node != stem; node = parent(node)) connect(node, up(node));

        const int32_t blossom = free_.back();
        free_.pop_back();
        nodes_[blossom] = {0, 0, kEven, -1, nodes_[stem].base, -1, stem, -1, -1, -1, 0};
        for_each_child(blossom, [&](int32_t child) {
            nodes_[child].blossom = blossom;
            set_slopes(child, -1, 0);
            for_each_vertex(child, [&](int32_t v) { outer_[v] = blossom; });
        });
        set_slope(blossom, 2);
        for_each_child(blossom, [&](int32_t child) {
            if (nodes_[child].label == kOdd) look_around(child);
            nodes_[child].label = kOutside;
        });
    }

    // Replaces an odd blossom by its children, of which those between its ends in the tree stay there.
    void expand(int32_t blossom) {
        const int32_t via = nodes_[blossom].via, first = nodes_[blossom].first;
        for_each_child(blossom, [&](int32_t child) {
            nodes_[child].blossom = -1;
            for_each_vertex(child, [&](int32_t v) { outer_[v] = child; });
        });
        int32_t odd = outer_[target(via)];
        const bool forward = is_mate_next(first, odd);
        make_odd(odd, via);
        while (odd != first) {
            const int32_t even = forward ? nodes_[odd].next : nodes_[odd].previous;
            odd = forward ? nodes_[even].next : nodes_[even].previous;
            make_even(even);
            make_odd(odd, forward ? nodes_[even].link : nodes_[odd].link ^ 1);
        }
        for_each_child(blossom, [&](int32_t child) {
            if (nodes_[child].label == kOutside) set_slopes(child, 0, 0);
        });
        for_each_child(blossom, [&](int32_t child) {
            if (nodes_[child].label == kEven) look_around(child);
            if (nodes_[child].label == kOutside) look_back(child);
        });
        nodes_[blossom].label = kOutside;
        free_.push_back(blossom);
    }

    // Foresees which edges from even nodes to one that has left the tree become tight.
    void look_back(int32_t node) {
        for_each_vertex(node, [&](int32_t v) {
            for (int32_t k = starts_[v]; k < starts_[v + 1]; k++) {
                if (label_at(target(arcs_[k])) == kEven) foresee(time_ + slack(arcs_[k]), arcs_[k] ^ 1);
            }
        });
    }

    // Whether the even way from a child to the first one is forward.
    bool is_mate_next(int32_t first, int32_t child) const {
        bool odd = false;
        for (int32_t node = first; node != child; node = nodes_[node].next) odd = !odd;
        return odd;
    }

    // Flips the path from the last arc, or vertex, to the root.
    void flip_path() {
        int32_t arc = last_arc_, vertex = last_;
        if (arc >= 0) set_mate(target(arc), arc ^ 1);
        while (true) {
            const int32_t mate = match_[nodes_[outer_[vertex]].base];
            set_mate(vertex, arc);
            if (mate < 0) return;
            arc = nodes_[outer_[target(mate)]].via;
            set_mate(target(arc), arc ^ 1);
            vertex = source(arc);
        }
    }

    void set_mate(int32_t vertex, int32_t arc) {
        set_base(outer_[vertex], vertex);
        match_[vertex] = arc;
    }

    // Matches a node's vertices anew, all but one.
    void set_base(int32_t node, int32_t base) {
        if (nodes_[node].base == base) return;
        int32_t child = base;
        while (nodes_[child].blossom != node) child = nodes_[child].blossom;
        set_base(child, base);
        const int32_t first = nodes_[node].first;
        const bool forward = is_mate_next(first, child);
        for (int32_t at = child; at != first;) {
            const int32_t one = forward ? nodes_[at].next : nodes_[at].previous;
            at = forward ? nodes_[one].next : nodes_[one].previous;
            const int32_t arc = forward ? nodes_[one].link : nodes_[at].link ^ 1;
            set_base(one, source(arc)), set_base(at, target(arc));
            match_[source(arc)] = arc, match_[target(arc)] = arc ^ 1;
        }
        nodes_[node].first = child;
        nodes_[node].base = base;
    }

    int32_t vertices_ = 0;
    std::vector<int32_t> ends_;           // per arc: its source
    std::vector<int64_t> weights_;        // per edge, doubled
    std::vector<int32_t> starts_, arcs_;  // by source
    std::vector<Node> nodes_;
    std::vector<int32_t> match_;  // per vertex: arc to its mate, -1
    std::vector<int32_t> outer_;  // per vertex: the outermost blossom around it, or itself
    std::vector<int32_t> free_;   // numbers of blossoms
    // The search at hand.
    int64_t time_ = 0, end_ = 0;
    int32_t cycles_ = 0;
    int32_t last_arc_ = -1, last_ = -1;  // what ends it: an arc and its source, or -1 and a vertex
    std::vector<Event> events_;          // a heap
    std::vector<int32_t> touched_;       // vertices that are or were in the tree
};
