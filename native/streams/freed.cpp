// Windows with erased rounds: errors that are as likely as not.
#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "streams/window_decoder.h"

namespace qecpipe::streams {

namespace {

// What a window keeps of an error: the edge, one input twice being the boundary, and what it flips.
struct SeenError {
    bool seen = false;
    int32_t first = -1, second = -1;
    std::vector<int32_t> observables;
    std::vector<Place> handed_on;
};

SeenError seen_in(const Window& window, const Component& error, const std::map<Place, int32_t>& number) {
    SeenError found;
    int64_t low = INT64_MAX, high = INT64_MIN;
    std::vector<int32_t> ends;
    for (const Place& at : error.detectors) {
        const int64_t layer = error.layer + at.layer;
        low = std::min(low, layer), high = std::max(high, layer);
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
    if (window.commits(low, high)) {
        found.observables = error.observables;
    } else {
        found.handed_on.clear();
    }
    return found;
}

}  // namespace

std::shared_ptr<WindowDecoder> WindowDecoder::freed(const Window& at,
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
    ::matching::Graph& graph = changed.graph;
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
            add_flips(std::span(window_.flips)
                          .subspan(window_.starts[k], window_.starts[k + 1] - window_.starts[k]));
        } else {
            graph.weights[k] = 0;
            if (!changed.logits.empty()) changed.logits[k] = -1;
            add_flips(found->second);
            free.erase(found);
        }
    }
    for (const auto& [ends, flipped] : free) {
        graph.first.push_back(ends.second);
        graph.second.push_back(ends.first);
        graph.weights.push_back(0);
        add_flips(flipped);
        if (!changed.logits.empty()) changed.logits.push_back(-1);
        if (!changed.together.empty()) changed.together.push_back(changed.together.back());
    }
    changed.starts = std::move(starts);
    changed.flips = std::move(flips);
    return std::make_shared<WindowDecoder>(std::move(changed));
}

}  // namespace qecpipe::streams
