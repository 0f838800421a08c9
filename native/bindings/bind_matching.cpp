#include <nanobind/stl/optional.h>

#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "matching/shots.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

using matching::ShotMatcher;
using matching::Shots;

template <class T>
std::vector<T> copied(const Checked<T>& array) {
    return {array.begin(), array.end()};
}

void make_matcher(ShotMatcher* self, const AnyArray& ends, const AnyArray& weights, int32_t num_detectors,
                  const std::optional<AnyArray>& flips, const std::optional<nb::tuple>& implied) {
    const auto ends_2E = checked<int32_t>("ends", ends, {2, kAny});
    const int64_t edges = ends_2E.shape(1);
    matching::Graph graph{num_detectors,
                          {ends_2E.data(), ends_2E.data() + edges},
                          {ends_2E.data() + edges, ends_2E.data() + 2 * edges},
                          copied(checked<float>("weights", weights, {edges}))};
    std::vector<uint8_t> flips_E;
    if (flips) flips_E = copied(checked<uint8_t>("flips", *flips, {edges}));
    std::optional<matching::ImpliedWeights> implied_weights;
    if (implied) {
        if (implied->size() != 3) throw std::invalid_argument("implied: give (starts, edges, weights)");
        const auto starts =
            checked<int32_t>("implied starts", nb::cast<AnyArray>((*implied)[0]), {edges + 1});
        const auto of = checked<int32_t>("implied edges", nb::cast<AnyArray>((*implied)[1]), {kAny});
        const auto values = checked<float>("implied weights", nb::cast<AnyArray>((*implied)[2]), {of.size()});
        implied_weights = {copied(starts), copied(of), copied(values)};
    }
    new (self) ShotMatcher(std::move(graph), std::move(flips_E), std::move(implied_weights));
}

// Arguments that all methods have, with the arrays they are in.
struct Given {
    Given(const ShotMatcher& matcher, const AnyArray& packed, const std::optional<AnyArray>& values,
          bool are_logits, float step = 1)
        : rows(checked<uint8_t>("packed", packed, {kAny, matcher.row_bytes()})) {
        shots = {rows.shape(0), rows.data(), nullptr, are_logits && values};
        if (!values) return;
        const char* name = are_logits ? "logits" : "weights";
        const std::vector<int64_t> shape{shots.count, matcher.num_edges()};
        if (are_logits && values->dtype() == nb::dtype<int8_t>()) {
            if (!(step > 0) || !std::isfinite(step)) {
                throw std::invalid_argument("step: " + std::to_string(step) + " is not a positive number");
            }
            quantized = checked<int8_t>(name, *values, shape);
            shots.quantized = quantized->data();
            shots.step = step;
            return;
        }
        weights = checked<float>(name, *values, shape);
        shots.weights = weights->data();
    }

    Checked<uint8_t> rows;
    std::optional<Checked<float>> weights;
    std::optional<Checked<int8_t>> quantized;
    Shots shots;
};

void require_flips(const ShotMatcher& self) {
    if (!self.has_flips())
        throw std::invalid_argument("the matcher was made without flips, which classes need");
}

nb::tuple match(const ShotMatcher& self, const AnyArray& packed, const std::optional<AnyArray>& weights,
                bool logits) {
    const Given given(self, packed, weights, logits);
    const int64_t count = given.shots.count;
    NewArray<uint8_t> edges({count, self.num_edges()});
    NewArray<double> weight({count});
    NewArray<bool> explained({count});
    {
        InterpreterReleased released;
        self.match(given.shots, edges.data(), weight.data(), explained.data());
    }
    return nb::make_tuple(edges.release(), weight.release(), explained.release());
}

nb::tuple match_moves(const ShotMatcher& self, const AnyArray& logits, const AnyArray& packed,
                      double abstain_above, float step) {
    const Given given(self, packed, logits, true, step);
    const int64_t count = given.shots.count;
    NewArray<uint8_t> moves({count, self.num_edges()});
    NewArray<float> maximum_weight({count});
    {
        InterpreterReleased released;
        self.match_moves(given.shots, abstain_above, moves.data(), maximum_weight.data());
    }
    return nb::make_tuple(moves.release(), maximum_weight.release());
}

nb::tuple predict(const ShotMatcher& self, const AnyArray& packed, const AnyArray& masks,
                  const std::optional<AnyArray>& weights) {
    const Given given(self, packed, weights, false);
    const auto masks_EB = checked<uint8_t>("masks", masks, {self.num_edges(), kAny});
    const int64_t count = given.shots.count, bytes = masks_EB.shape(1);
    NewArray<uint8_t> predictions({count, bytes});
    NewArray<bool> explained({count});
    {
        InterpreterReleased released;
        self.predict(given.shots, masks_EB.data(), bytes, predictions.data(), explained.data());
    }
    return nb::make_tuple(predictions.release(), explained.release());
}

nb::tuple match_classes(const ShotMatcher& self, const AnyArray& packed,
                        const std::optional<AnyArray>& weights, bool logits, float step) {
    require_flips(self);
    const Given given(self, packed, weights, logits, step);
    const int64_t count = given.shots.count;
    NewArray<uint8_t> zero({count, self.num_edges()}), one({count, self.num_edges()});
    NewArray<double> weight({count, 2});
    {
        InterpreterReleased released;
        self.match_classes(given.shots, zero.data(), one.data(), weight.data());
    }
    return nb::make_tuple(zero.release(), one.release(), weight.release());
}

nb::ndarray<nb::numpy, float> gap(const ShotMatcher& self, const AnyArray& packed,
                                  const std::optional<AnyArray>& weights, bool logits, double limit,
                                  float step) {
    require_flips(self);
    if (!(limit >= 0)) throw std::invalid_argument("limit: " + std::to_string(limit) + " is not at least 0");
    const Given given(self, packed, weights, logits, step);
    NewArray<float> gap({given.shots.count});
    {
        InterpreterReleased released;
        self.gap(given.shots, limit, gap.data());
    }
    return gap.release();
}

}  // namespace

void bind_matching(nb::module_& module) {
    nb::class_<ShotMatcher>(
        module, "Matcher",
        "Exact minimum-weight matching; `global_decoders.matching` explains it. B shots, D "
        "detectors, E edges; `packed`: uint8 (B, ceil(D / 8)), LSB first; `weights`: float32 (B, E) "
        "or None; logits may be int8 (B, E), whole numbers of `step`.")
        .def("__init__", &make_matcher, "ends"_a, "weights"_a, nb::kw_only(), "num_detectors"_a,
             "flips"_a = nb::none(), "implied"_a = nb::none(),
             "`ends`: int32 (2, E); `weights`: float32 (E,); `flips`: uint8 (E,); `implied`: int32 (E + 1,), "
             "int32 "
             "(J,), float32 (J,).")
        .def("match", &match, "packed"_a, "weights"_a = nb::none(), nb::kw_only(), "logits"_a = false,
             "Edges uint8 (B, E), their weight float64 (B,), and whether they explain the shot, bool (B,).")
        .def("match_moves", &match_moves, "logits"_a, "packed"_a, nb::kw_only(),
             "abstain_above"_a = std::numeric_limits<double>::infinity(), "step"_a = 1.0f,
             "Edges uint8 (B, E) and the weight of the heaviest cluster of changed ones, float32 (B,).")
        .def("predict", &predict, "packed"_a, "masks"_a, "weights"_a = nb::none(),
             "The sum modulo 2 of the masks uint8 (E, K) of the edges, uint8 (B, K), and explained, bool "
             "(B,).")
        .def("match_classes", &match_classes, "packed"_a, "weights"_a = nb::none(), nb::kw_only(),
             "logits"_a = false, "step"_a = 1.0f,
             "Edges of class 0 and of class 1, uint8 (B, E) each, and their weights, float64 (B, 2).")
        .def("gap", &gap, "packed"_a, "weights"_a = nb::none(), nb::kw_only(), "logits"_a = false,
             "limit"_a = std::numeric_limits<double>::infinity(), "step"_a = 1.0f,
             "The weight of class 1 less that of class 0, at most `limit` either way: float32 (B,).");
}

}  // namespace qecpipe::bindings
