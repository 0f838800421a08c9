#include <limits>
#include <stdexcept>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "matching/blossom.h"
#include "matching/move_matching.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

void make_move_matching(matching::MoveMatching* self, const AnyArray& ends, int64_t num_detectors) {
    const auto ends_2C = checked<int32_t>("ends", ends, {2, kAny});
    if (num_detectors < 0) throw std::invalid_argument("num_detectors: " + std::to_string(num_detectors) + " < 0");
    const auto columns = static_cast<size_t>(ends_2C.shape(1));
    new (self) matching::MoveMatching({ends_2C.data(), columns}, {ends_2C.data() + columns, columns}, num_detectors);
}

nb::tuple match_moves(const matching::MoveMatching& self, const AnyArray& logits, const AnyArray& packed,
                      double abstain_above) {
    const int64_t columns = self.num_columns();
    const auto logits_BC = checked<float>("logits", logits, {kAny, columns});
    const int64_t shots = logits_BC.shape(0);
    const auto rows = checked<uint8_t>("packed", packed, {shots, (self.num_detectors() + 7) / 8});
    NewArray<uint8_t> moves({shots, columns});
    NewArray<float> maximum_weight({shots});
    NewArray<bool> unsolved({shots});
    {
        nb::gil_scoped_release released;
        self.match(shots, logits_BC.data(), rows.data(), abstain_above, moves.data(), maximum_weight.data(),
                   unsolved.data());
    }
    return nb::make_tuple(moves.release(), maximum_weight.release(), unsolved.release());
}

nb::ndarray<nb::numpy, int32_t> heaviest_matching(int32_t vertices, const AnyArray& ends, const AnyArray& weights) {
    const auto ends_E2 = checked<int32_t>("ends", ends, {kAny, 2});
    const int64_t edges = ends_E2.shape(0);
    const auto weights_E = checked<int64_t>("weights", weights, {edges});
    for (const int32_t end : ends_E2) {
        if (end < 0 || end >= vertices) {
            throw std::invalid_argument("ends: vertex " + std::to_string(end) + " is not one of " +
                                        std::to_string(vertices));
        }
    }
    NewArray<int32_t> edge_of({vertices});
    {
        nb::gil_scoped_release released;
        HeaviestMatching matching;
        matching.clear(vertices);
        for (int64_t k = 0; k < edges; k++) {
            matching.add_edge(ends_E2.data()[2 * k], ends_E2.data()[2 * k + 1], weights_E.data()[k]);
        }
        matching.solve();
        for (int32_t v = 0; v < vertices; v++) edge_of.data()[v] = matching.edge_of(v);
    }
    return edge_of.release();
}

}  // namespace

void bind_matching(nb::module_& module) {
    nb::class_<matching::MoveMatching>(module, "MoveMatching",
                                       "Matchings on logits in the order of some columns, which need not all be moves.")
        .def("__init__", &make_move_matching, "ends"_a, nb::kw_only(), "num_detectors"_a,
             "`ends`: int32 (2, C), the detectors of a move, the second -1 where it has one, both -1 for no move.")
        .def("match", &match_moves, "logits"_a, "packed"_a, nb::kw_only(),
             "abstain_above"_a = std::numeric_limits<double>::infinity(),
             "Moves uint8 (B, C), maximum_weight float32 (B,) and unsolved bool (B,) of logits float32 (B, C) and "
             "detections uint8 (B, ceil(D / 8)), LSB first.");
    module.def("heaviest_matching", &heaviest_matching, "vertices"_a, "ends"_a, "weights"_a,
               "The edge of every vertex, -1 for none, in a heaviest matching of any graph: int32 (vertices,). "
               "`ends`: int32 (E, 2); `weights`: int64 (E,), positive.");
}

}  // namespace qecpipe::bindings
