// The matching of one window: which detections it reads, and what its committed edges flip.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matching/matcher.h"
#include "streams/layer_ring.h"
#include "streams/layers.h"

namespace streams {

// A detector by its layer, relative to a window's first or an error's, and its site.
struct Place {
    int32_t layer, site;
    auto operator<=>(const Place&) const = default;
};

// A window's graph as data, as `WindowGraph` in Python: equal windows have equal ones.
struct WindowGraph {
    int32_t num_layers = 0, num_sites = 0;
    std::vector<Place> inputs;              // the detections that it reads, by the graph's numbers
    matching::Graph graph;                  // its edges
    std::vector<int32_t> starts, flips;     // edge k flips fault ids flips[starts[k]] to flips[starts[k + 1] - 1]
    // Correlations, none where edges count as independent: edge k fires together with edge others[j], for j from
    // together[k] on, with probability joint[j].
    std::vector<int32_t> together, others;
    std::vector<double> joint;
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
        need(std::is_sorted(together.begin(), together.end()), "starts of correlations that are not in order");
        need(others.size() == joint.size() && (together.empty() || together.back() == std::ssize(others)),
             "correlations of no edge");
        const auto known = [&](int32_t k) { return k >= 0 && k < static_cast<int32_t>(edges); };
        need(std::all_of(others.begin(), others.end(), known), "correlations with no edge");
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

// Decodes windows of one kind, wherever in time they stand. Threads take turns.
class WindowDecoder {
  public:
    explicit WindowDecoder(WindowGraph window)
        : window_(checked(std::move(window))), matcher_(window_.graph), words_((window_.num_sites + 63) / 64) {
        input_of_.assign(static_cast<size_t>(window_.num_layers) * words_ * 64, -1);
        for (size_t k = 0; k < window_.inputs.size(); k++) {
            input_of_[bit_of(window_.inputs[k])] = static_cast<int32_t>(k);
        }
        prepare_correlations();
        if (window_.certain_inputs.empty()) return;
        certain_.assign(static_cast<size_t>(window_.num_layers) * words_, 0);
        for (int32_t k : window_.certain_inputs) {
            const size_t bit = bit_of(window_.inputs[k]);
            certain_[bit / 64] ^= uint64_t{1} << (bit % 64);
        }
    }

    const WindowGraph& graph() const { return window_; }

    // Decodes the window that begins with this layer: flips observables of `frame`, packed, and hands its
    // artificial defects on to the ring. False, and nothing has changed, where nothing explains the detections.
    bool decode(LayerRing& ring, int64_t start, uint64_t* frame) {
        const std::lock_guard turn(turn_);
        if (!read(ring, start)) return false;
        if (!detections_.empty()) {
            if (!match()) return false;
            for (int32_t edge : edges_) {
                for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) {
                    flip(ring, start, frame, window_.flips[k]);
                }
            }
        }
        for (int32_t fault_id : window_.certain_flips) flip(ring, start, frame, fault_id);
        return true;
    }

    // Decodes 0/1 of every input to 0/1 of every fault id.
    bool decode_inputs(const uint8_t* detections, uint8_t* fault_ids) {
        const std::lock_guard turn(turn_);
        detections_.clear();
        std::fill_n(fault_ids, window_.num_fault_ids(), 0);
        for (int32_t k = 0; k < window_.graph.num_detectors; k++) {
            const auto certain = std::ranges::count(window_.certain_inputs, k);
            if ((detections[k] + certain) % 2) detections_.push_back(k);
        }
        if (!match()) return false;
        for (int32_t edge : edges_) {
            for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) fault_ids[window_.flips[k]] ^= 1;
        }
        for (int32_t fault_id : window_.certain_flips) fault_ids[fault_id] ^= 1;
        return true;
    }

    // The same window where these errors, new or not, are as likely as not; `start` is its first layer.
    std::shared_ptr<WindowDecoder> freed(const Window& at, std::span<const Component> errors) const;

    // Memory that it takes, rather too much than too little.
    size_t num_bytes() const { return 1024 + window_.graph.first.size() * 200 + window_.inputs.size() * 200; }

  private:
    static WindowGraph checked(WindowGraph window) {
        window.check();
        return window;
    }

    size_t bit_of(Place at) const { return static_cast<size_t>(at.layer) * words_ * 64 + at.site; }

    // Numbers of the detections, without what always happens; false where one is no input.
    bool read(LayerRing& ring, int64_t start) {
        detections_.clear();
        const int32_t* input = input_of_.data();
        const uint64_t* certain = certain_.empty() ? nullptr : certain_.data();
        for (int64_t t = start; t < start + window_.num_layers; t++) {
            const uint64_t* row = ring.row(t);
            for (int32_t w = 0; w < words_; w++, input += 64) {
                uint64_t bits = row[w];
                if (certain) bits ^= *certain++;
                for (; bits; bits &= bits - 1) {
                    const int32_t detection = input[std::countr_zero(bits)];
                    if (detection < 0) return false;
                    detections_.push_back(detection);
                }
            }
        }
        return true;
    }

    // Matches the detections. With correlations twice: edges that fire with one that was used the first time are
    // then as light as that makes them, as in PyMatching (arXiv:1310.0863).
    bool match() {
        if (!matcher_.match(detections_, edges_, nullptr)) return false;
        if (implied_.empty()) return true;
        changed_.clear();
        for (int32_t edge : edges_) {
            for (int32_t j = window_.together[edge]; j < window_.together[edge + 1]; j++) {
                float& weight = weights_[window_.others[j]];
                if (implied_[j] >= weight) continue;
                weight = implied_[j];
                changed_.push_back(window_.others[j]);
            }
        }
        const bool explained = changed_.empty() || matcher_.match(detections_, weights_.data(), edges_, nullptr);
        for (int32_t edge : changed_) weights_[edge] = window_.graph.weights[edge];
        return explained;
    }

    void prepare_correlations() {
        if (window_.others.empty()) return;
        weights_ = window_.graph.weights;
        implied_.resize(window_.joint.size());
        for (size_t edge = 0; edge < weights_.size(); edge++) {
            const double marginal = 1 / (1 + std::exp(static_cast<double>(weights_[edge])));
            for (int32_t j = window_.together[edge]; j < window_.together[edge + 1]; j++) {
                const double p = std::min(0.5, window_.joint[j] / marginal);
                implied_[j] = static_cast<float>(std::log((1 - p) / p));
            }
        }
    }

    void flip(LayerRing& ring, int64_t start, uint64_t* frame, int32_t fault_id) const {
        if (fault_id < window_.num_observables) {
            frame[fault_id >> 6] ^= uint64_t{1} << (fault_id & 63);
        } else {
            const Place at = window_.artificial_defects[fault_id - window_.num_observables];
            ring.flip(start + at.layer, at.site);
        }
    }

    const WindowGraph window_;
    matching::Matcher matcher_;
    int32_t words_;
    std::vector<int32_t> input_of_;  // by layer, and site in it: the graph's number of a detector, -1
    std::vector<uint64_t> certain_;  // rows of what always happens; empty where nothing does
    std::mutex turn_;
    std::vector<int32_t> detections_, edges_;
    std::vector<float> implied_;   // by correlation: the weight of the other edge where this one is used
    std::vector<float> weights_;   // with correlations: those of the graph between calls
    std::vector<int32_t> changed_;
};

// What a window keeps of an error: the edge, one input twice being the boundary, and what it flips.
struct SeenError {
    bool seen = false;
    int32_t first = -1, second = -1;
    std::vector<int32_t> observables;
    std::vector<Place> handed_on;
};

inline SeenError seen_in(const Window& window, const Component& error, const std::map<Place, int32_t>& number) {
    SeenError found;
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool commits = false;
    std::vector<int32_t> ends;
    for (const Place& at : error.detectors) {
        const int64_t layer = error.layer + at.layer;
        low = std::min(low, layer), high = std::max(high, layer);
        commits = commits || (window.lo <= layer && layer < window.hi);
        const Place here{static_cast<int32_t>(layer - window.start), at.site};
        if (layer < window.lo || layer >= window.hi) found.handed_on.push_back(here);
        if (layer >= window.start && layer < window.stop) {
            if (const auto input = number.find(here); input != number.end()) ends.push_back(input->second);
        }
    }
    if (ends.empty() || ends.size() > 2 || window.drops(low, high)) return {};
    std::sort(ends.begin(), ends.end());
    found.seen = true;
    found.first = ends[0];
    if (ends.size() == 2) found.second = ends[1];
    if (commits) {
        found.observables = error.observables;
    } else {
        found.handed_on.clear();
    }
    return found;
}

inline std::shared_ptr<WindowDecoder> WindowDecoder::freed(const Window& at,
                                                           std::span<const Component> errors) const {
    std::map<Place, int32_t> number, defect;
    for (size_t k = 0; k < window_.inputs.size(); k++) number[window_.inputs[k]] = static_cast<int32_t>(k);
    WindowGraph changed = window_;
    for (Place handed_on : window_.artificial_defects) {
        defect.emplace(handed_on, window_.num_observables + static_cast<int32_t>(defect.size()));
    }
    std::map<std::pair<int32_t, int32_t>, std::vector<int32_t>> free;  // ascending ends, -1 the boundary's
    for (const Component& error : errors) {
        SeenError found = seen_in(at, error, number);
        if (!found.seen) continue;
        std::vector<int32_t> flips = std::move(found.observables);
        for (Place handed_on : found.handed_on) {
            const auto [where, added] = defect.emplace(handed_on, changed.num_fault_ids());
            if (added) changed.artificial_defects.push_back(handed_on);
            flips.push_back(where->second);
        }
        free[{found.second, found.first}] = std::move(flips);  // of several, the last says what is flipped
    }
    matching::Graph& graph = changed.graph;
    std::vector<int32_t> starts{0}, flips;
    const auto add_flips = [&](std::span<const int32_t> more) {
        flips.insert(flips.end(), more.begin(), more.end());
        starts.push_back(static_cast<int32_t>(flips.size()));
    };
    for (size_t k = 0; k < graph.first.size(); k++) {
        int32_t low = graph.first[k], high = graph.second[k];
        if (high >= 0 && high < low) std::swap(low, high);
        const auto found = free.find({high, low});
        if (found == free.end()) {
            add_flips(std::span(window_.flips).subspan(window_.starts[k], window_.starts[k + 1] - window_.starts[k]));
        } else {
            graph.weights[k] = 0;
            add_flips(found->second);
            free.erase(found);
        }
    }
    for (const auto& [ends, flipped] : free) {
        graph.first.push_back(ends.second);
        graph.second.push_back(ends.first);
        graph.weights.push_back(0);
        add_flips(flipped);
        if (!changed.together.empty()) changed.together.push_back(changed.together.back());
    }
    changed.starts = std::move(starts);
    changed.flips = std::move(flips);
    return std::make_shared<WindowDecoder>(std::move(changed));
}

}  // namespace streams
