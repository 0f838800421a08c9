// Which boundary edges flip an observable, once it is put there.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "matching/graph.h"

namespace matching {

// Which detectors an observable has to be moved over for inner edges to be free of it: 0/1 per detector. -1,
// or an edge that closes a cycle of inner edges that flips it, where there is one.
inline int32_t free_inner_edges(const Graph& graph, const std::vector<uint8_t>& flips,
                                std::vector<int8_t>& changed) {
    const Arcs arcs(graph);
    changed.assign(graph.num_detectors, -1);
    std::vector<int32_t> open;
    for (int32_t start = 0; start < graph.num_detectors; start++) {
        if (changed[start] >= 0) continue;
        changed[start] = 0;
        open.push_back(start);
        while (!open.empty()) {
            const int32_t at = open.back();
            open.pop_back();
            for (const Arc* arc = arcs.begin(at); arc != arcs.end(at); arc++) {
                if (arc->target >= arcs.hub) continue;
                const int8_t expected = static_cast<int8_t>(changed[at] ^ (flips[arc->edge] & 1));
                int8_t& other = changed[arc->target];
                if (other >= 0 && other != expected) return arc->edge;
                if (other < 0) open.push_back(arc->target);
                other = expected;
            }
        }
    }
    return -1;
}

// Whether `flips_on_boundary` can be.
inline bool has_classes(const Graph& graph, const std::vector<uint8_t>& flips) {
    std::vector<int8_t> changed;
    return free_inner_edges(graph, flips, changed) < 0;
}

// Puts an observable on boundary edges: 0/1 per edge.
//
// Edges that explain the same detections flip an observable alike if its flips are changed at all edges of a
// detector; whether it is flipped then only changes with that detector. So inner edges are freed of it, from
// detector to detector. Throws std::invalid_argument where a cycle of inner edges flips the observable (as on
// a torus): the least weight of a class is then a hard problem (Schlotter and Sebo, "Odd paths, cycles and
// T-joins").
inline std::vector<uint8_t> flips_on_boundary(const Graph& graph, const std::vector<uint8_t>& flips) {
    std::vector<int8_t> changed;
    if (const int32_t edge = free_inner_edges(graph, flips, changed); edge >= 0) {
        throw std::invalid_argument("edge " + std::to_string(edge) + ", D" +
                                    std::to_string(graph.first[edge]) + " to D" +
                                    std::to_string(graph.second[edge]) +
                                    ", closes a cycle of edges between detectors that flips the "
                                    "observable; classes need one whose flips can all be put on "
                                    "boundary edges");
    }
    std::vector<uint8_t> on_boundary(graph.first.size(), 0);
    for (int32_t e = 0; e < graph.num_edges(); e++) {
        if (graph.first[e] >= 0 && graph.second[e] < 0)
            on_boundary[e] = (flips[e] & 1) ^ changed[graph.first[e]];
    }
    return on_boundary;
}

}  // namespace matching
