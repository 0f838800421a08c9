#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/interpreter_lock.h"
#include "bindings/streams_arrays.h"
#include "streams/batch.h"
#include "streams/model.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

std::vector<int32_t> vector_of(const char* name, const AnyArray& array) {
    const auto values = checked<int32_t>(name, array, {kAny});
    return {values.begin(), values.end()};
}

std::vector<streams::Place> places_of(const char* name, const AnyArray& array) {
    const auto pairs = checked<int32_t>(name, array, {kAny, 2});
    std::vector<streams::Place> places(pairs.shape(0));
    for (size_t k = 0; k < places.size(); k++) places[k] = {pairs.data()[2 * k], pairs.data()[2 * k + 1]};
    return places;
}

std::shared_ptr<streams::WindowDecoder> make_decoder(
    int32_t num_layers, int32_t num_sites, int32_t num_observables, const AnyArray& inputs,
    const AnyArray& artificial_defects, const AnyArray& ends, const AnyArray& weights, const AnyArray& starts,
    const AnyArray& flips, const AnyArray& together, const AnyArray& others, const AnyArray& joint,
    const AnyArray& certain_inputs, const AnyArray& certain_flips, const AnyArray& logits,
    int32_t layer_size) {
    streams::WindowGraph window;
    window.num_layers = num_layers, window.num_sites = num_sites, window.num_observables = num_observables;
    window.inputs = places_of("inputs", inputs);
    window.artificial_defects = places_of("artificial_defects", artificial_defects);
    window.graph.num_detectors = static_cast<int32_t>(window.inputs.size());
    const auto pairs = checked<int32_t>("ends", ends, {kAny, 2});
    for (int64_t k = 0; k < pairs.shape(0); k++) {
        const int32_t a = pairs.data()[2 * k], b = pairs.data()[2 * k + 1];
        window.graph.first.push_back(a < 0 ? b : a);
        window.graph.second.push_back(a < 0 ? a : b);
    }
    const auto numbers = checked<double>("weights", weights, {kAny});
    window.graph.weights.assign(numbers.begin(), numbers.end());
    window.starts = vector_of("starts", starts), window.flips = vector_of("flips", flips);
    window.together = vector_of("together", together), window.others = vector_of("others", others);
    const auto probabilities = checked<double>("joint", joint, {kAny});
    window.joint.assign(probabilities.begin(), probabilities.end());
    window.certain_inputs = vector_of("certain_inputs", certain_inputs);
    window.certain_flips = vector_of("certain_flips", certain_flips);
    window.logits = vector_of("logits", logits), window.layer_size = layer_size;
    return std::make_shared<streams::WindowDecoder>(std::move(window));
}

using NativeWindow = std::tuple<int64_t, int64_t, int64_t, int64_t, bool, bool>;

streams::Window window_of(const NativeWindow& window) {
    const auto [start, lo, hi, stop, past, future] = window;
    return {start, lo, hi, stop, past, future};
}

auto decode_inputs(streams::WindowDecoder& decoder, const AnyArray& detections) {
    const int64_t inputs = std::ssize(decoder.graph().inputs), fault_ids = decoder.graph().num_fault_ids();
    const auto rows = checked<uint8_t>("detections", detections, {kAny, inputs});
    NewArray<uint8_t> flips({rows.shape(0), fault_ids});
    int64_t failed = -1;
    {
        const InterpreterReleased released;
        for (int64_t s = 0; s < rows.shape(0) && failed < 0; s++) {
            if (!decoder.decode_inputs(rows.data() + s * inputs, flips.data() + s * fault_ids)) failed = s;
        }
    }
    if (failed >= 0) {
        throw std::invalid_argument("no set of edges explains the detections of shot " +
                                    std::to_string(failed));
    }
    return flips.release();
}

void make_batch(streams::WindowBatch* self, const std::vector<int64_t>& starts,
                const std::vector<std::shared_ptr<streams::WindowDecoder>>& decoders,
                const AnyArray& detectors, int32_t num_sites, int32_t num_observables,
                std::vector<int32_t> certain_observables) {
    if (starts.size() != decoders.size()) {
        throw std::invalid_argument(std::to_string(starts.size()) + " starts for " +
                                    std::to_string(decoders.size()) + " windows");
    }
    std::vector<streams::PlacedWindow> windows;
    for (size_t k = 0; k < starts.size(); k++) windows.push_back({starts[k], decoders[k]});
    new (self) streams::WindowBatch(std::move(windows), places_of("detectors", detectors), num_sites,
                                    num_observables, std::move(certain_observables));
}

auto decode_batch(streams::WindowBatch& batch, const AnyArray& packed,
                  const std::optional<AnyArray>& logits) {
    const auto rows = checked<uint8_t>("packed", packed, {kAny, (batch.num_detectors() + 7) / 8});
    std::optional<Checked<float>> weights;
    if (logits) weights = checked<float>("logits", *logits, {rows.shape(0), batch.num_moves()});
    if (!weights && batch.num_moves())
        throw std::invalid_argument("the windows are matched on logits; give them");
    NewArray<uint8_t> flips({rows.shape(0), (batch.num_observables() + 7) / 8});
    std::pair<int64_t, int64_t> failed;
    {
        const InterpreterReleased released;
        failed = batch.decode(rows.data(), weights ? weights->data() : nullptr, rows.shape(0), flips.data());
    }
    if (failed.first >= 0) {
        throw std::invalid_argument("no set of edges explains the detections of shot " +
                                    std::to_string(failed.first) + " in window " +
                                    std::to_string(failed.second));
    }
    return flips.release();
}

}  // namespace

void bind_windows(nb::module_& module) {
    using streams::WindowDecoder;
    nb::class_<WindowDecoder>(module, "WindowDecoder",
                              "The matching of windows that are equal; threads take turns.")
        .def(nb::new_(&make_decoder), nb::kw_only(), "num_layers"_a, "num_sites"_a, "num_observables"_a,
             "inputs"_a, "artificial_defects"_a, "ends"_a, "weights"_a, "starts"_a, "flips"_a, "together"_a,
             "others"_a, "joint"_a, "certain_inputs"_a, "certain_flips"_a, "logits"_a, "layer_size"_a)
        .def("decode", &decode_inputs, "detections"_a,
             "Decode uint8 0/1 (S, inputs) to uint8 0/1 (S, fault ids): observables, then artificial "
             "defects.\n\n"
             "Raises ValueError where no set of edges explains a shot.")
        .def(
            "freed",
            [](const WindowDecoder& base, const NativeWindow& at, const std::vector<Lost>& errors) {
                return base.freed(window_of(at), components_of(errors));
            },
            "window"_a, "errors"_a, "The same window where these errors are as likely as not.")
        .def_prop_ro("num_edges", [](const WindowDecoder& d) { return d.graph().graph.first.size(); })
        .def_prop_ro("num_bytes", &WindowDecoder::num_bytes)
        .def_prop_ro("has_classes", &WindowDecoder::has_classes,
                     "Whether streams find a gap where it is the last window.")
        .def_prop_ro("artificial_defects", [](const WindowDecoder& decoder) {
            Detectors places;
            for (const streams::Place& at : decoder.graph().artificial_defects)
                places.emplace_back(at.layer, at.site);
            return places;
        });
    nb::class_<streams::WindowSet>(module, "WindowSet", "The decoders of a model's windows by key.")
        .def(nb::init<size_t>(), "most_erased_bytes"_a)
        .def("add", &streams::WindowSet::add, "key"_a, "decoder"_a)
        .def("__len__", &streams::WindowSet::size)
        .def_prop_ro("num_erased", &streams::WindowSet::num_erased)
        .def_prop_ro("erased_bytes", &streams::WindowSet::erased_bytes);
    nb::class_<streams::WindowBatch>(module, "WindowBatch", "The windows of an experiment on whole shots.")
        .def("__init__", &make_batch, nb::kw_only(), "starts"_a, "decoders"_a, "detectors"_a, "num_sites"_a,
             "num_observables"_a, "certain_observables"_a)
        .def(
            "match_on",
            [](streams::WindowBatch& batch, std::vector<int64_t> numbers, int32_t layer_size) {
                batch.match_on(std::move(numbers), layer_size);
            },
            "numbers"_a, "layer_size"_a, "Match windows on logits, of which move k has number numbers[k].")
        .def("decode", &decode_batch, "packed"_a, "logits"_a.none() = nb::none(),
             "Decode uint8 (S, ceil(detectors / 8)) to uint8 (S, ceil(observables / 8)), little-endian "
             "bits.\n\n"
             "logits: float32 (S, moves), where windows are matched on them.");
}

}  // namespace qecpipe::bindings
