#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "trellis/trellis.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

using trellis::Trellis;

void make_trellis(Trellis* self, const AnyArray& starts, const AnyArray& detectors,
                  const AnyArray& probabilities, const AnyArray& flips, int32_t num_detectors,
                  int32_t num_observables) {
    const auto of_faults = checked<double>("probabilities", probabilities, {kAny});
    const auto starts_M = checked<int32_t>("starts", starts, {of_faults.size() + 1});
    const auto flips_M = checked<uint64_t>("flips", flips, {of_faults.size()});
    const auto of_starts = checked<int32_t>("detectors", detectors, {kAny});
    new (self) Trellis({num_detectors,
                        num_observables,
                        {starts_M.begin(), starts_M.end()},
                        {of_starts.begin(), of_starts.end()},
                        {of_faults.begin(), of_faults.end()},
                        {flips_M.begin(), flips_M.end()}});
}

nb::ndarray<nb::numpy, float> log_odds(const Trellis& self, const AnyArray& packed, int64_t beam,
                                       double negligible) {
    const auto rows = checked<uint8_t>("packed", packed, {kAny, self.row_bytes()});
    NewArray<float> odds({rows.shape(0), self.num_observables()});
    {
        InterpreterReleased released;
        self.log_odds(rows.data(), rows.shape(0), beam, negligible, odds.data());
    }
    return odds.release();
}

}  // namespace

void bind_trellis(nb::module_& module) {
    nb::class_<Trellis>(
        module, "Trellis",
        "Sums over errors by a trellis with a beam; `global_decoders.adapters.trellis` explains it. "
        "M faults, D detectors, O observables.")
        .def("__init__", &make_trellis, "starts"_a, "detectors"_a, "probabilities"_a, "flips"_a,
             nb::kw_only(), "num_detectors"_a, "num_observables"_a,
             "Faults in the order in which they are taken: int32 (M + 1,), int32 (K,), float64 (M,), and "
             "bits of observables uint64 (M,).")
        .def("log_odds", &log_odds, "packed"_a, nb::kw_only(), "beam"_a,
             "negligible"_a = Trellis::kNegligible,
             "Of no flip, by `packed` uint8 (B, ceil(D / 8)), LSB first: float32 (B, O); NaN where the beam "
             "lost all states. It keeps up to `beam` of them, and none that scores less than `negligible` "
             "beside the best.");
}

}  // namespace qecpipe::bindings
