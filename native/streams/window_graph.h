// The graph of one window as data: which detections it reads, and what its committed edges flip.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "matching/graph.h"

namespace qecpipe::streams {

// A detector by its layer, relative to a window's first or an error's, and its site.
struct Place {
    int32_t layer, site;
    auto operator<=>(const Place&) const = default;
};

// A window's graph as data, as `WindowGraph` in Python: equal windows have equal ones.
struct WindowGraph {
    int32_t num_layers = 0, num_sites = 0;
    std::vector<Place> inputs;  // the detections that it reads, by the graph's numbers
    ::matching::Graph graph;    // its edges
    std::vector<int32_t> starts,
        flips;  // edge k flips fault ids flips[starts[k]] to flips[starts[k + 1] - 1]
    // Correlations, none where edges count as independent: edge k fires together with edge others[j], for j
    // from together[k] on, with probability joint[j].
    std::vector<int32_t> together, others;
    std::vector<double> joint;
    // Where weights are the logits of a shot: number of each edge's in its layer plus `layer_size` times that
    // layer, counted from the one before the window's first; -1 for edges of weight 0. Empty where weights
    // are fixed.
    std::vector<int32_t> logits;
    int32_t layer_size = 0;
    int32_t num_observables = 0;            // fault ids below are observables, the others
    std::vector<Place> artificial_defects;  // artificial defects: detectors that the window does not commit
    std::vector<int32_t> certain_inputs, certain_flips;  // what always happens

    int32_t num_fault_ids() const {
        return num_observables + static_cast<int32_t>(artificial_defects.size());
    }

    // Raises what does not fit as an error that names it.
    void check() const {
        const size_t edges = graph.first.size();
        const auto need = [](bool fits, const char* what) {
            if (!fits) throw std::invalid_argument(std::string("a window's graph has ") + what);
        };
        need(graph.second.size() == edges && graph.weights.size() == edges, "arrays of different lengths");
        need(starts.size() == edges + 1 && starts.front() == 0, "no start of flips for every edge");
        need(starts.back() == static_cast<int32_t>(flips.size()), "flips without an edge");
        need(std::is_sorted(starts.begin(), starts.end()), "starts of flips that are not in order");
        need(together.empty() || together.size() == edges + 1, "no start of correlations for every edge");
        need(together.empty() ? others.empty() : together.front() == 0, "correlations without an edge");
        need(std::is_sorted(together.begin(), together.end()),
             "starts of correlations that are not in order");
        need(others.size() == joint.size() && (together.empty() || together.back() == std::ssize(others)),
             "correlations of no edge");
        const auto known = [&](int32_t k) { return k >= 0 && k < static_cast<int32_t>(edges); };
        need(std::all_of(others.begin(), others.end(), known), "correlations with no edge");
        need(logits.empty() || logits.size() == edges, "no logit for every edge");
        for (int32_t k : logits) need(k >= -1 && k < (num_layers + 1) * layer_size, "an edge of no logit");
        need(logits.empty() || others.empty(), "logits and correlations");
        // A shot's weights are read layer by layer.
        int32_t layer = 0;
        for (int32_t k : logits) {
            if (k < 0) continue;
            need(k / layer_size >= layer, "logits that are not in the order of their layers");
            layer = k / layer_size;
        }
        need(graph.num_detectors == static_cast<int32_t>(inputs.size()), "another number of inputs");
        for (const Place& at : inputs) {
            need(at.layer >= 0 && at.layer < num_layers, "an input outside its layers");
            need(at.site >= 0 && at.site < num_sites, "an input at no site");
        }
        for (const Place& at : artificial_defects) {
            need(at.layer >= 0, "an artificial defect before its first layer");
            need(at.site >= 0 && at.site < num_sites, "an artificial defect at no site");
        }
        for (size_t k = 0; k < edges; k++) {
            need(graph.first[k] >= 0 && graph.first[k] < graph.num_detectors, "an edge of no detector");
            need(graph.second[k] >= -1 && graph.second[k] < graph.num_detectors, "an edge of no detector");
        }
        const auto fault_id = [&](int32_t k) { return k >= 0 && k < num_fault_ids(); };
        need(std::all_of(flips.begin(), flips.end(), fault_id), "an unknown fault id");
        need(std::all_of(certain_flips.begin(), certain_flips.end(), fault_id), "an unknown certain flip");
        need(std::all_of(certain_inputs.begin(), certain_inputs.end(),
                         [&](int32_t k) { return k >= 0 && k < graph.num_detectors; }),
             "an unknown certain input");
    }
};

// Detectors that an error flips, with the observables, and the layer that they count from.
struct Component {
    int64_t layer;
    std::vector<Place> detectors;
    std::vector<int32_t> observables;
};

}  // namespace qecpipe::streams
