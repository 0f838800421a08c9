// Regions around defects that grow and shrink over the graph as time passes, and what happens to them.
//
// A region is the ball around a defect or a blossom, an odd set of regions that met in a cycle and grow as
// one. Only outermost regions change: their radius has slope 1, 0 or -1. No two of them overlap, so every
// node (a detector) is in one region at most. A node's reach is how far its region goes past it. An edge
// between nodes of two regions is full when both reaches add up to its weight, and the regions meet there.
//
// This is the lower half of the sparse blossom algorithm (Higgott and Gidney, "Sparse Blossom: correcting a
// million errors per core second with minimum-weight matching", arXiv:2303.15933); blossoms.h is the upper
// one.
//
// Every node and every region that shrinks has the time when something may happen to it next. It is never too
// late, and what happens is looked at again when it has come.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "matching/graph.h"
#include "matching/regions.h"

namespace matching {

class Flooder : public Regions {
  public:
    explicit Flooder(const Arcs& arcs) : arcs_(arcs), nodes_(arcs.boundary + 1), limit_(arcs.hub) {}

    // Forgets the last shot.
    void begin(const Weights& weights) {
        for (const Visit& visit : visits_) nodes_[visit.node] = Node();
        for (const int32_t node : due_unvisited_) nodes_[node] = Node();
        forget();
        events_.clear(), due_unvisited_.clear();
        weights_ = weights;
        now_ = 0, last_ = kNever, limit_ = arcs_.hub;
    }

    // A region of radius 0 that grows; `look_at` has to follow once all are there.
    int32_t add_defect(int32_t node) {
        const int32_t defect = add_region();
        extent(defect).slope = 1, extent(defect).intercept = -now_;
        regions_[defect].node = node;
        occupy(node, defect, {node, -1, -1, defect});
        return defect;
    }

    // From now on `Arcs::hub` is a node, and boundary edges that lead there end in it. Nothing is due, and
    // what is due after `last` does not happen.
    void open_hub(Time last) {
        limit_ = arcs_.boundary, last_ = last;
        events_.clear();
        for (const Visit& visit : visits_) nodes_[visit.node].due = kNever;
    }

    // Puts the hub at the surface of a region whose boundary path is `path`.
    void occupy_hub(int32_t region, const Path& path) {
        occupy(arcs_.hub, region, {arcs_.hub, path.a, path.edge, visits_[path.a].defect});
    }

    // Time passes until regions meet, one meets the boundary, or one that shrinks has radius 0.
    Event next() {
        while (!events_.empty()) {
            std::pop_heap(events_.begin(), events_.end());
            const Due due = events_.back();
            events_.pop_back();
            if (due.what < 0) {
                const int32_t region = ~due.what;
                if (regions_[region].due != due.time) continue;
                now_ = due.time;
                if (vanishes(region)) return {Event::kVanish, region, -1, -1, {}};
            } else {
                if (nodes_[due.what].due != due.time) continue;
                now_ = due.time;
                nodes_[due.what].due = kNever;
                const Event event = happen(due.what);
                if (event.kind != Event::kNone) return event;
            }
        }
        return {};
    }

    // Finds when something may happen to a node next.
    void look_at(int32_t node) {
        const Look first = look(node);
        if (first.time != kNever) set_due(node, first);
    }

    // The hub, of reach 0, begins to grow: finds when it may reach the ends of its edges.
    void look_from_hub() {
        for (const Arc& arc : arcs_.hub_arcs) {
            if (nodes_[arc.target].region >= 0) {
                look_at(arc.target);
                continue;
            }
            const Time time = now_ + weight(arc);
            if (time >= nodes_[arc.target].due || time > last_) continue;
            due_unvisited_.push_back(arc.target);
            set_due(arc.target, {time, nullptr});
        }
    }

    void set_slope(int32_t region, int32_t slope) {
        const int32_t before = extent(region).slope;
        change(region, region, slope, now_);
        regions_[region].due = kNever;
        if (slope < 0) {
            set_due_of_shrinking(region);
        } else if (slope > 0 || before < 0) {
            // Of one that grew and stops, all times are early, and remain.
            for_each_node(region, [&](int32_t node) { look_at(node); });
        }
    }

    // Lets a new blossom grow with its children in it, which were outermost regions until now.
    void wrap(int32_t blossom) {
        extent(blossom).intercept = -now_, extent(blossom).slope = 1;
        const Region& b = regions_[blossom];
        for (int32_t k = 0; k < b.children; k++) {
            const int32_t one = child(b, k).region, before = extent(one).slope;
            regions_[one].parent = blossom, regions_[one].due = kNever;
            change(one, blossom, 1, now_);
            if (before < 1) moved_.push_back(one);
        }
        // What grew before has times that may be early now, and remain.
        for (const int32_t one : moved_) for_each_node(one, [&](int32_t node) { look_at(node); });
        moved_.clear();
    }

    // Makes the children of a blossom of radius 0 that shrinks outermost regions. They shrink: `set_slope`
    // has to follow for each.
    void unwrap(int32_t blossom) {
        const Region& b = regions_[blossom];
        for (int32_t k = 0; k < b.children; k++) {
            regions_[child(b, k).region].parent = -1;
            change(child(b, k).region, child(b, k).region, -1, now_);
        }
    }

    Time weight(const Arc& arc) const {
        if (weights_.of_shot) return rounded(weights_.of_shot[arc.edge]);
        return weights_.in_units ? weights_.in_units[arc.edge] : arc.weight;
    }

    // How much has passed, in what weights are given in.
    double weight_of(Time time) const {
        return static_cast<double>(time) / (2 * (weights_.of_shot ? kUnits : arcs_.units));
    }
    Time now() const { return now_; }

    // |weight| of one shot, rounded to 2^-24: less than floats from 1/2 on distinguish. What is above 2^20,
    // or no number, counts as that.
    static Time rounded(float weight) {
        const float size = std::fabs(weight);
        return 2 * static_cast<Time>(static_cast<double>(size < kLargest ? size : kLargest) * kUnits + 0.5);
    }

  private:
    static constexpr float kUnits = 1 << 24, kLargest = 1 << 20;  // of one shot

    struct Node {
        int32_t region = -1;  // that reached it, -1 outside
        int32_t visit = -1;   // the last one
        int32_t next_in_shell = -1;
        int32_t due_arc = -1;  // what is due, -1 if that is not known
        Time arrival = 0;      // the region's extent when it reached the node, 0 outside
        Time due = kNever;
    };

    struct Due {
        Time time;
        int32_t what;  // a node, or ~region

        bool operator<(const Due& other) const { return time > other.time; }  // heaps have the largest on top
    };

    struct Look {
        Time time;
        const Arc* arc;
    };

    // The first thing that may happen to a node: an edge becomes full, if nothing changes until then.
    Look look(int32_t at) const {
        if (weights_.of_shot)
            return look(at, [&](const Arc& arc) { return rounded(weights_.of_shot[arc.edge]); });
        if (weights_.in_units)
            return look(at, [&](const Arc& arc) { return Time{weights_.in_units[arc.edge]}; });
        return look(at, [](const Arc& arc) { return Time{arc.weight}; });
    }

    template <class WeightOf>
    Look look(int32_t at, const WeightOf& weight_of) const {
        const Node& node = nodes_[at];
        const Extent own = extent(node.region);
        if (own.slope < 0) return {kNever, nullptr};
        Look first{kNever, nullptr};
        for (const Arc *arc = arcs_.begin(at), *end = arcs_.end(at); arc != end; arc++) {
            const Time time = time_of(weight_of(*arc), node, own, nodes_[arc->target]);
            if (time < first.time) first = {time, arc};
        }
        return first;
    }

    // When an edge between two nodes becomes full. What is outside has slope 0 and extent 0, as has the
    // boundary. Which of these it is cannot be foretold, so that nothing here branches.
    Time time_of(Time weight, const Node& node, const Extent& own, const Node& other) const {
        const Extent& its = extent(other.region);
        const int32_t slope = own.slope + its.slope;
        const Time time =
            (weight - own.intercept - its.intercept + node.arrival + other.arrival) >> (slope == 2);
        return (slope <= 0) | ((own.top == its.top) & (own.top >= 0)) ? kNever : time;
    }

    // What is due at a node, if that is still so; otherwise what is first.
    Look look_again(int32_t at) const {
        const Node& node = nodes_[at];
        if (node.due_arc < 0) return look(at);
        const Arc* arc = arcs_.arcs.data() + node.due_arc;
        const Extent& own = extent(node.region);
        const Time time = own.slope < 0 ? kNever : time_of(weight(*arc), node, own, nodes_[arc->target]);
        return time <= now_ ? Look{time, arc} : look(at);
    }

    // What happens to a node now, if anything does.
    Event happen(int32_t at) {
        const Look first = look_again(at);
        if (first.time == kNever) return {};
        if (first.time > now_) return set_due(at, first), Event();
        const int32_t target = first.arc->target, edge = first.arc->edge;
        if (target >= limit_) {
            const int32_t visit = nodes_[at].visit, defect = visits_[visit].defect;
            return {Event::kBoundary, top_at(at), -1, at, {defect, -1, add_path({visit, edge, -1})}};
        }
        if (nodes_[at].region < 0) return enter(at, target, edge), Event();
        if (nodes_[target].region < 0) {
            enter(target, at, edge);
            return look_at(at), Event();
        }
        const int32_t a = nodes_[at].visit, b = nodes_[target].visit;
        return {Event::kMeet,
                top_at(at),
                top_at(target),
                at,
                {visits_[a].defect, visits_[b].defect, add_path({a, edge, b})}};
    }

    // A region reaches a node from one that is in it.
    void enter(int32_t node, int32_t from, int32_t edge) {
        const int32_t visit = nodes_[from].visit;
        occupy(node, top_at(from), {node, visit, edge, visits_[visit].defect});
        look_at(node);
    }

    void occupy(int32_t at, int32_t region, const Visit& visit) {
        Node& node = nodes_[at];
        node.region = region, node.visit = static_cast<int32_t>(visits_.size());
        node.arrival = extent(region).intercept + extent(region).slope * now_;
        node.next_in_shell = regions_[region].shell, regions_[region].shell = at;
        visits_.push_back(visit);
    }

    // A region that shrinks leaves the last node that it reached; true if it has radius 0 instead.
    bool vanishes(int32_t region) {
        Region& r = regions_[region];
        r.due = kNever;
        if (r.shell < 0 || r.shell == r.node) return true;
        const int32_t left = r.shell;
        r.shell = nodes_[left].next_in_shell;
        nodes_[left].region = -1, nodes_[left].arrival = 0;
        look_at(left);
        set_due_of_shrinking(region);
        return false;
    }

    void set_due_of_shrinking(int32_t region) {
        Region& r = regions_[region];
        const bool ends = r.shell < 0 || r.shell == r.node;
        r.due = extent(region).intercept - (ends ? 0 : nodes_[r.shell].arrival);
        push(r.due, ~region);
    }

    void set_due(int32_t node, const Look& first) {
        nodes_[node].due_arc = first.arc ? static_cast<int32_t>(first.arc - arcs_.arcs.data()) : -1;
        if (nodes_[node].due == first.time) return;
        nodes_[node].due = first.time;
        push(first.time, node);
    }

    void push(Time time, int32_t what) {
        if (time > last_) return;
        events_.push_back({time, what});
        std::push_heap(events_.begin(), events_.end());
    }

    int32_t top_at(int32_t node) const { return extent(nodes_[node].region).top; }

    template <class Visitor>
    void for_each_node(int32_t region, const Visitor& visit) {
        for_each_inside(region, [&](int32_t inside) {
            for (int32_t node = regions_[inside].shell; node >= 0; node = nodes_[node].next_in_shell)
                visit(node);
        });
    }

    const Arcs& arcs_;
    std::vector<Node> nodes_;
    int32_t limit_;  // targets from here on are the boundary
    Weights weights_;
    Time now_ = 0, last_ = kNever;
    std::vector<Due> events_;             // a heap
    std::vector<int32_t> due_unvisited_;  // nodes
    std::vector<int32_t> moved_;          // children
};

}  // namespace matching
