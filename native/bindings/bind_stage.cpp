#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/streams_arrays.h"
#include "network/engine.h"
#include "streams/stage.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

void make_tables(streams::StageTables* self, std::vector<int32_t> kinds, int64_t cut, int64_t cycle,
                 int32_t num_sites, int32_t num_observables, int32_t layer_size, double propose,
                 double commit, bool empty_residual, bool keeps_logits, int64_t min_rounds, int32_t reach,
                 int32_t lookahead) {
    new (self) streams::StageTables({std::move(kinds), cut, cycle}, num_sites, num_observables, layer_size);
    self->policy = {propose, commit, empty_residual};
    self->keeps_logits = keeps_logits, self->min_rounds = min_rounds;
    self->reach = reach, self->lookahead = lookahead;
}

std::vector<streams::Place> places_of(const Detectors& detectors) {
    std::vector<streams::Place> places;
    for (const auto& [layer, site] : detectors) places.push_back({layer, site});
    return places;
}

using Move = std::tuple<int32_t, Detectors, std::vector<int32_t>>;

// Moves of layers of one kind before layers of another: logit's number, detectors and observables of each.
void add_moves(streams::StageTables& tables, std::pair<int32_t, int32_t> kinds,
               const std::vector<Move>& moves) {
    streams::LayerMoves added;
    added.starts.push_back(0);
    for (const auto& [logit, detectors, observables] : moves) {
        if (detectors.empty() || detectors.size() > 2)
            throw std::invalid_argument("a move flips 1 or 2 detectors");
        const std::vector<streams::Place> ends = places_of(detectors);
        added.logits.push_back(logit);
        added.first.push_back(ends.front()), added.second.push_back(ends.back());
        added.flips.insert(added.flips.end(), observables.begin(), observables.end());
        added.starts.push_back(static_cast<int32_t>(added.flips.size()));
    }
    tables.moves_of[kinds] = static_cast<int32_t>(tables.moves.size());
    tables.moves.push_back(std::move(added));
}

void add_hyperedges(streams::StageTables& tables, const std::vector<Detectors>& edges) {
    std::vector<std::vector<streams::Place>> nodes;
    for (const Detectors& edge : edges) nodes.push_back(places_of(edge));
    tables.add_hyperedges(nodes);
}

// One shot's stage by itself. Rows are packed, 64 bits to a word.
class BoundStage {
  public:
    explicit BoundStage(std::shared_ptr<streams::StageTables> tables) : stage_(tables) { stage_.start(); }

    // The detections of a layer, without what always happens.
    nb::bytes put(const AnyArray& packed, bool last) {
        const int64_t words = (stage_.tables().num_sites + 63) / 64;
        const auto bytes = checked<uint8_t>("row", packed, {8 * words});
        std::vector<uint64_t> row(words);
        std::memcpy(row.data(), bytes.data(), 8 * words);
        stage_.put(row.data(), last);
        return nb::bytes(stage_.detections(), 8 * words);
    }

    // (what is left, flips of the observables) of every layer that became known.
    nb::list give_logits(const AnyArray& layers) {
        const int64_t size = stage_.tables().layer_size;
        const auto rows = checked<float>("logits", layers, {kAny, size});
        for (int64_t k = 0; k < rows.shape(0); k++) stage_.logits(rows.data() + k * size);
        nb::list done;
        const size_t words = (stage_.tables().num_sites + 63) / 64;
        const size_t flip_words = (stage_.tables().num_observables + 63) / 64;
        stage_.drain([&](const uint64_t* row, const uint64_t* flips) {
            done.append(nb::make_tuple(nb::bytes(row, 8 * words), nb::bytes(flips, 8 * flip_words)));
        });
        return done;
    }

    bool was_short() const { return stage_.was_short(); }

  private:
    streams::Stage stage_;
};

void set_certain(streams::StageTables& tables, const std::vector<std::vector<Lost>>& by_kind, int32_t reach) {
    tables.certain.clear();
    for (const std::vector<Lost>& errors : by_kind) tables.certain.push_back(components_of(errors));
    tables.certain_reach = reach;
}

// A number for each place of a grid of ancillas, [kinds][2 rows][2 columns].
template <class Number>
auto grid_of(int kinds, int rows, int columns, Number number) {
    NewArray<int64_t> grid({kinds, 2 * rows, 2 * columns});
    int64_t* to = grid.data();
    for (int kind = 0; kind < kinds; ++kind)
        for (int row = 0; row < 2 * rows; ++row)
            for (int column = 0; column < 2 * columns; ++column) *to++ = number(kind, row, column);
    return grid.release();
}

}  // namespace

void bind_stage(nb::module_& module) {
    nb::class_<streams::StageTables>(module, "StageTables",
                                     "What a pre-decoder stage knows of an experiment.")
        .def("__init__", &make_tables, nb::kw_only(), "kinds"_a, "cut"_a, "cycle"_a, "num_sites"_a,
             "num_observables"_a, "layer_size"_a, "propose"_a, "commit"_a, "empty_residual"_a,
             "keeps_logits"_a, "min_rounds"_a, "reach"_a, "lookahead"_a)
        .def("add_moves", &add_moves, "kinds"_a, "moves"_a)
        .def("add_hyperedges", &add_hyperedges, "edges"_a)
        .def("set_certain", &set_certain, "by_kind"_a, "reach"_a)
        .def("check", &streams::StageTables::check)
        .def_ro("num_sites", &streams::StageTables::num_sites)
        .def_ro("layer_size", &streams::StageTables::layer_size);
    module.def(
        "detection_bits",
        [](int rows, int columns) {
            const network::Patch patch{rows, columns};
            return grid_of(1, rows, columns, [&](int, int row, int column) {
                return network::detection_of(patch, row, column);
            });
        },
        "rows"_a, "columns"_a,
        "Bits of the detectors among those of a layer that a network takes: int64 (1, 2 rows, 2 columns).");
    module.def(
        "logit_numbers",
        [](int rows, int columns) {
            const network::Patch patch{rows, columns};
            return grid_of(3, rows, columns, [&](int kind, int row, int column) {
                return network::logit_of(patch, kind, row, column);
            });
        },
        "rows"_a, "columns"_a, "Numbers of the moves among a layer's logits: int64 (3, 2 rows, 2 columns).");
    nb::class_<BoundStage>(module, "Stage", "The pre-decoder stage of one shot; see native/streams/stage.h.")
        .def(nb::init<std::shared_ptr<streams::StageTables>>(), "tables"_a)
        .def("put", &BoundStage::put, "row"_a, "last"_a)
        .def("give_logits", &BoundStage::give_logits, "logits"_a)
        .def_prop_ro("was_short", &BoundStage::was_short);
}

}  // namespace qecpipe::bindings
