// What a search consists of: regions, the paths between them, and events.
#pragma once

#include <cstdint>
#include <limits>

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

// How far a region reaches: intercept + slope * time, its radius and those of all blossoms around it together.
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

}  // namespace matching
