#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "bindings/streams_arrays.h"
#include "streams/residual.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

void make_move_tables(streams::MoveTables* self, const AnyArray& ends, const AnyArray& starts,
                      const AnyArray& observables, int64_t num_detectors, int64_t num_observables) {
    const auto ends_2M = checked<int32_t>("ends", ends, {2, kAny});
    const auto moves = static_cast<size_t>(ends_2M.shape(1));
    const auto starts_M = checked<int32_t>("starts", starts, {ends_2M.shape(1) + 1});
    const auto numbers = checked<int32_t>("observables", observables, {kAny});
    new (self) streams::MoveTables({ends_2M.data(), moves}, {ends_2M.data() + moves, moves},
                                   {starts_M.begin(), starts_M.end()}, {numbers.begin(), numbers.end()},
                                   num_detectors, num_observables);
}

nb::tuple apply_moves(const streams::MoveTables& self, const AnyArray& packed, const AnyArray& moves) {
    const auto moves_BM = checked<uint8_t>("moves", moves, {kAny, self.num_moves()});
    const int64_t shots = moves_BM.shape(0);
    const auto rows = checked<uint8_t>("packed", packed, {shots, self.row_bytes()});
    NewArray<uint8_t> residual({shots, self.row_bytes()}), flips({shots, self.flips_bytes()});
    {
        InterpreterReleased released;
        self.apply(shots, moves_BM.data(), rows.data(), residual.data(), flips.data());
    }
    return nb::make_tuple(residual.release(), flips.release());
}

}  // namespace

void bind_streams(nb::module_& module) {
    bind_windows(module);
    bind_stage(module);
    bind_stream(module);
    nb::class_<streams::MoveTables>(module, "MoveTables", "Which detectors and observables every move flips.")
        .def("__init__", &make_move_tables, "ends"_a, "starts"_a, "observables"_a, nb::kw_only(),
             "num_detectors"_a, "num_observables"_a,
             "`ends`: int32 (2, M), detectors or -1; move k flips observables[starts[k]:starts[k + 1]], "
             "int32.")
        .def("apply", &apply_moves, "packed"_a, "moves"_a,
             "Residual syndrome uint8 (B, ceil(D / 8)) and observable flips uint8 (B, ceil(O / 8)), LSB "
             "first, of "
             "detections `packed` and moves uint8 0/1 (B, M).");
}

}  // namespace qecpipe::bindings
