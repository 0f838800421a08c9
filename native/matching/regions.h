// What a search consists of: regions, the paths between them, and events.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "matching/graph.h"

namespace matching {

constexpr Time kNever = std::numeric_limits<Time>::max();

// A path between two defects, or from one to the boundary (`to` is -1). Its edges are those of path `path`.
struct Link {
    int32_t from = -1, to = -1, path = -1;

    Link reversed() const { return {to, from, path}; }
    explicit operator bool() const { return path >= 0; }
};

// Edges of a link: from visit `a` back to its defect, `edge`, and from visit `b` back to its own (-1: the
// boundary). Where `edge` is -1, the edges of the paths number a and b.
struct Path {
    int32_t a, edge, b;
};

// How a node was reached. Visits are kept: paths refer to them after the region has left the node again.
struct Visit {
    int32_t node, parent, edge, defect;
};

// Of outermost regions: matched, or in an alternating tree, where even ones grow and odd ones shrink.
enum class Label : int8_t { kMatched, kEven, kOdd };

// How far a region reaches: intercept + slope * time, its radius and those of all blossoms around it
// together.
struct Extent {
    Time intercept = 0;
    int32_t slope = 0;
    int32_t top = -1;  // the outermost region around it, or itself
};

// The region of a defect, or a blossom.
struct Region {
    int32_t node = -1;    // of a defect
    int32_t parent = -1;  // the blossom around it
    int32_t shell = -1;   // the last node that it reached, from which the others follow
    int32_t first_child = -1, children = 0;
    Time due = kNever;  // while it shrinks
    Label label = Label::kEven;
    int32_t tree = -1, next_in_tree = -1;
    int32_t seen = 0;
    Link mate;  // unless it is the root of a tree
    Link via;   // if odd: to its parent in the tree
};

// A region in a blossom, and the link to the one after it in the cycle.
struct Child {
    int32_t region;
    Link next;
};

// Where something happened, and to which outermost regions.
struct Event {
    enum Kind {
        kNone,
        kMeet,      // two regions, of which at least one grows, at either end of a full edge
        kBoundary,  // one that grows and the boundary
        kVanish,    // one that shrinks has radius 0
    } kind = kNone;
    int32_t region = -1, other = -1;
    int32_t node = -1;  // where it was noticed: to be looked at again afterwards
    Link link;          // from `region` to `other`
};

// All regions of a shot, with their paths.
class Regions {
  public:
    // One of radius 0 that does not change and has no nodes.
    int32_t add_region() {
        const int32_t region = num_regions();
        regions_.emplace_back();
        extents_.push_back({0, 0, region});
        return region;
    }

    void add_child(int32_t blossom, Child child) {
        Region& b = regions_[blossom];
        if (!b.children++) b.first_child = static_cast<int32_t>(children_.size());
        children_.push_back(child);
    }

    int32_t add_path(Path path) {
        paths_.push_back(path);
        return static_cast<int32_t>(paths_.size()) - 1;
    }

    Region& region(int32_t k) { return regions_[k]; }
    const Region& region(int32_t k) const { return regions_[k]; }
    const Child& child(const Region& blossom, int32_t k) const { return children_[blossom.first_child + k]; }
    const Path& path(int32_t k) const { return paths_[k]; }
    const Visit& visit(int32_t k) const { return visits_[k]; }
    // The outermost region around a defect.
    int32_t top(int32_t defect) const { return extent(defect).top; }
    int32_t num_regions() const { return static_cast<int32_t>(regions_.size()); }

    // Which child of a blossom a defect is in.
    int32_t child_around(int32_t blossom, int32_t defect) const {
        while (regions_[defect].parent != blossom) defect = regions_[defect].parent;
        int32_t k = 0;
        while (child(regions_[blossom], k).region != defect) k++;
        return k;
    }

  protected:
    void forget() {
        visits_.clear(), regions_.clear(), children_.clear(), paths_.clear();
        extents_.assign(1, Extent());
    }

    Extent& extent(int32_t region) { return extents_[region + 1]; }
    const Extent& extent(int32_t region) const { return extents_[region + 1]; }

    // The slope and the outermost region of a region and of all in it.
    void change(int32_t region, int32_t top, int32_t slope, Time now) {
        for_each_inside(region, [&](int32_t inside) {
            Extent& its = extent(inside);
            its.intercept += (its.slope - slope) * now;
            its.slope = slope, its.top = top;
        });
    }

    // A region and all in it. Not recursive: blossoms may be in each other by the thousand.
    template <class Visitor>
    void for_each_inside(int32_t region, const Visitor& visit) {
        if (!regions_[region].children) return visit(region);
        inside_.assign(1, region);
        while (!inside_.empty()) {
            const int32_t at = inside_.back();
            inside_.pop_back();
            visit(at);
            const Region& r = regions_[at];
            for (int32_t k = 0; k < r.children; k++) inside_.push_back(child(r, k).region);
        }
    }

    std::vector<Visit> visits_;
    std::vector<Region> regions_;
    std::vector<Extent> extents_;  // of regions, after that of what is outside
    std::vector<Child> children_;
    std::vector<Path> paths_;
    std::vector<int32_t> inside_;  // regions
};

}  // namespace matching
