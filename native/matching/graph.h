// The graph that is matched on, and its edges by detector.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace matching {

// Time at which events of the search happen, and weights, in units. Weights are even, so that all times are
// whole.
using Time = int64_t;

// Detectors 0 .. num_detectors - 1 and edges 0 .. first.size() - 1. An edge joins detectors `first` and
// `second`, or `first` and the boundary where `second` is -1; where both are -1 there is no edge (its number
// stays).
struct Graph {
    int32_t num_detectors = 0;
    std::vector<int32_t> first, second;
    std::vector<float> weights;  // of any sign

    int32_t num_edges() const { return static_cast<int32_t>(first.size()); }
};

// Weights of edges in one shot, one for every edge; without any, the graph's own. Whether weights are
// negative says which edges are taken first, the absolute values what it costs to change that.
struct Weights {
    const float* of_shot = nullptr;
    bool are_logits = false;  // those of the edges being there: a weight is -logit
    // In units of the arcs, even and not negative; an edge is as negative as in the graph.
    const int32_t* in_units = nullptr;
};

// An edge as seen from one of its ends.
struct Arc {
    int32_t target;  // a detector, or `Arcs::hub` or `Arcs::boundary`
    int32_t edge;
    int32_t weight;  // |weight| of the graph, in units
};

// Arcs by their source. Boundary edges that are marked lead to `hub`, the others to `boundary`.
struct Arcs {
    // Half units of the largest fixed weight: PyMatching's, so that both round weights alike.
    static constexpr int32_t kLargest = (1 << 24) - 1;

    // `is_hub_edge`: of boundary edges, per edge, or empty. `later`: other weights that edges get, which
    // count for the units. Throws std::invalid_argument for ends and weights that cannot be.
    explicit Arcs(const Graph& graph, std::vector<uint8_t> is_hub_edge = {},
                  const std::vector<float>& later = {})
        : hub(graph.num_detectors), boundary(hub + 1), is_hub(std::move(is_hub_edge)) {
        check(graph);
        units = units_of(graph.weights, later);
        starts.assign(graph.num_detectors + 2, 0);  // the hub has no arcs of its own
        for (int32_t e = 0; e < graph.num_edges(); e++) {
            for (const int32_t end : {graph.first[e], graph.second[e]}) {
                if (end >= 0) starts[end]++;
            }
        }
        for (int32_t v = 0, sum = 0; v <= graph.num_detectors + 1; v++) starts[v] = sum += starts[v];
        arcs.resize(starts.back());
        for (int32_t e = graph.num_edges() - 1; e >= 0; e--) {
            const int32_t a = graph.first[e], b = graph.second[e];
            if (a < 0) continue;
            const int32_t weight = rounded(graph.weights[e]);
            const int32_t outside = !is_hub.empty() && is_hub[e] ? hub : boundary;
            arcs[--starts[a]] = {b < 0 ? outside : b, e, weight};
            if (b >= 0) arcs[--starts[b]] = {a, e, weight};
            if (b < 0 && outside == hub) hub_arcs.push_back({a, e, weight});
        }
    }

    // |weight| in units of the graph's own weights: even.
    int32_t rounded(float weight) const {
        return static_cast<int32_t>(2 * std::llround(std::fabs(static_cast<double>(weight)) * units));
    }

    const Arc* begin(int32_t node) const { return arcs.data() + starts[node]; }
    const Arc* end(int32_t node) const { return arcs.data() + starts[node + 1]; }

    int32_t hub, boundary;
    double units = 1;  // half units of weight 1
    std::vector<int32_t> starts;
    std::vector<Arc> arcs, hub_arcs;  // hub_arcs: from the hub to detectors
    std::vector<uint8_t> is_hub;      // per edge, or empty

  private:
    static void check(const Graph& graph) {
        if (graph.num_detectors < 0) {
            throw std::invalid_argument("num_detectors is " + std::to_string(graph.num_detectors));
        }
        if (graph.second.size() != graph.first.size() || graph.weights.size() != graph.first.size()) {
            throw std::invalid_argument("edges have " + std::to_string(graph.first.size()) + " first ends, " +
                                        std::to_string(graph.second.size()) + " second ends and " +
                                        std::to_string(graph.weights.size()) + " weights");
        }
        for (int32_t e = 0; e < graph.num_edges(); e++) {
            const int32_t a = graph.first[e], b = graph.second[e];
            const std::string edge = "edge " + std::to_string(e);
            if (std::max(a, b) >= graph.num_detectors) {
                throw std::invalid_argument(edge + " ends on D" + std::to_string(std::max(a, b)) + ", but D" +
                                            std::to_string(graph.num_detectors - 1) +
                                            " is the last detector");
            }
            if (std::min(a, b) < -1 || (a < 0 && b >= 0) || (a >= 0 && a == b)) {
                throw std::invalid_argument(edge + " has the ends " + std::to_string(a) + " and " +
                                            std::to_string(b) +
                                            "; give two detectors, a detector and -1, or "
                                            "-1 twice where there is no edge");
            }
            if (!std::isfinite(graph.weights[e])) {
                throw std::invalid_argument(edge + " has the weight " + std::to_string(graph.weights[e]));
            }
        }
    }

    static double units_of(const std::vector<float>& weights, const std::vector<float>& later) {
        double largest = 0;
        bool whole = true;
        for (const std::vector<float>* some : {&weights, &later}) {
            for (const float weight : *some) {
                largest = std::max(largest, std::fabs(static_cast<double>(weight)));
                whole &= std::round(weight) == weight;
            }
        }
        return (whole && largest <= kLargest) || largest == 0 ? 1 : kLargest / largest;
    }
};

}  // namespace matching
