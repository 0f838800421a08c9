// Arguments of the functions that windows and streams are made of.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "streams/layers.h"
#include "streams/window_graph.h"

namespace qecpipe::bindings {

// Layer, or offset of a layer, and site of detectors; an error's first layer, detectors and observables.
using Detectors = std::vector<std::pair<int32_t, int32_t>>;
using Lost = std::tuple<int64_t, Detectors, std::vector<int32_t>>;

inline std::vector<streams::Component> components_of(const std::vector<Lost>& errors) {
    std::vector<streams::Component> found;
    for (const auto& [layer, detectors, observables] : errors) {
        streams::Component component{layer, {}, observables};
        for (const auto& [offset, site] : detectors) component.detectors.push_back({offset, site});
        found.push_back(std::move(component));
    }
    return found;
}

void bind_windows(nanobind::module_& module);
void bind_stage(nanobind::module_& module);
void bind_stream(nanobind::module_& module);

}  // namespace qecpipe::bindings
