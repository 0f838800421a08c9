#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "streams/batch.h"
#include "streams/stream.h"

namespace nb = nanobind;

namespace qecpipe::bindings {

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bits = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Pairs = nb::ndarray<const int32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using BitsOut = nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>;

constexpr int64_t kManyRounds = 32;  // from so many on, a call takes long enough to let other threads run

std::vector<int32_t> vector_of(const Ints& array) { return {array.data(), array.data() + array.size()}; }

std::vector<streams::Place> places_of(const Pairs& array) {
    std::vector<streams::Place> places(array.shape(0));
    for (size_t k = 0; k < places.size(); k++) places[k] = {array(k, 0), array(k, 1)};
    return places;
}

BitsOut new_bits(size_t rows, size_t columns) {
    auto* data = new uint8_t[rows * columns + 1]();
    nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<uint8_t*>(p); });
    return BitsOut(data, {rows, columns}, owner);
}

std::shared_ptr<streams::WindowDecoder> make_decoder(int32_t num_layers, int32_t num_sites, int32_t num_observables,
                                                     const Pairs& inputs, const Pairs& artificial_defects,
                                                     const Pairs& ends, const Floats& weights, const Ints& starts,
                                                     const Ints& flips, const Ints& together, const Ints& others,
                                                     const Floats& joint, const Ints& certain_inputs,
                                                     const Ints& certain_flips) {
    streams::WindowGraph window;
    window.num_layers = num_layers, window.num_sites = num_sites, window.num_observables = num_observables;
    window.inputs = places_of(inputs), window.artificial_defects = places_of(artificial_defects);
    window.graph.num_detectors = static_cast<int32_t>(inputs.shape(0));
    for (size_t k = 0; k < ends.shape(0); k++) {
        const bool boundary = ends(k, 0) < 0;
        window.graph.first.push_back(ends(k, boundary ? 1 : 0));
        window.graph.second.push_back(ends(k, boundary ? 0 : 1));
    }
    window.graph.weights.assign(weights.data(), weights.data() + weights.size());
    window.starts = vector_of(starts), window.flips = vector_of(flips);
    window.together = vector_of(together), window.others = vector_of(others);
    window.joint.assign(joint.data(), joint.data() + joint.size());
    window.certain_inputs = vector_of(certain_inputs), window.certain_flips = vector_of(certain_flips);
    return std::make_shared<streams::WindowDecoder>(std::move(window));
}

using Detectors = std::vector<std::pair<int32_t, int32_t>>;
using Lost = std::tuple<int64_t, Detectors, std::vector<int32_t>>;
using Term = std::tuple<std::vector<int32_t>, std::vector<int32_t>, std::vector<int32_t>>;

std::vector<streams::Component> components_of(const std::vector<Lost>& errors) {
    std::vector<streams::Component> found;
    for (const auto& [layer, detectors, observables] : errors) {
        streams::Component component{layer, {}, observables};
        for (const auto& [offset, site] : detectors) component.detectors.push_back({offset, site});
        found.push_back(std::move(component));
    }
    return found;
}

streams::Window window_of(const std::tuple<int64_t, int64_t, int64_t, int64_t, bool, bool>& window) {
    const auto [start, lo, hi, stop, past, future] = window;
    return {start, lo, hi, stop, past, future};
}

// `uint8 0/1 (S, inputs)` -> `uint8 0/1 (S, fault ids)`.
BitsOut decode_inputs(streams::WindowDecoder& decoder, const Bits& detections) {
    const streams::WindowGraph& graph = decoder.graph();
    if (detections.shape(1) != graph.inputs.size()) {
        throw nb::value_error(("detections of " + std::to_string(detections.shape(1)) + " inputs; the window has " +
                               std::to_string(graph.inputs.size()))
                                  .c_str());
    }
    BitsOut flips = new_bits(detections.shape(0), graph.num_fault_ids());
    int64_t failed = -1;
    {
        const nb::gil_scoped_release release;
        for (size_t s = 0; s < detections.shape(0) && failed < 0; s++) {
            uint8_t* row = flips.data() + s * graph.num_fault_ids();
            if (!decoder.decode_inputs(detections.data() + s * detections.shape(1), row)) {
                failed = static_cast<int64_t>(s);
            }
        }
    }
    if (failed >= 0) {
        throw nb::value_error(("no set of edges explains the detections of shot " + std::to_string(failed)).c_str());
    }
    return flips;
}

streams::RoundSource make_source(std::vector<int32_t> kinds, int64_t cut, int64_t cycle, int64_t given_layers,
                                 int32_t num_sites, bool measured, int32_t depth, int32_t num_observables,
                                 std::vector<std::vector<int32_t>> observables, std::vector<uint8_t> parities,
                                 std::vector<int32_t> certain_observables) {
    streams::RoundSource source({std::move(kinds), cut, cycle});
    source.given_layers = given_layers, source.num_sites = num_sites, source.measured = measured;
    source.depth = depth, source.num_observables = num_observables;
    source.observables = std::move(observables), source.observable_parities = std::move(parities);
    source.certain_observables = std::move(certain_observables);
    return source;
}

void add_round(streams::RoundSource& source, int32_t width, const std::vector<Term>& terms,
               const std::vector<int32_t>& parities, const std::vector<Lost>& lost) {
    streams::RoundKind round{width, {}, {}, components_of(lost)};
    for (const auto& [back, starts, sites] : terms) round.terms.push_back({back, starts, sites});
    round.parities.assign((source.num_sites + 63) / 64, 0);
    for (int32_t site : parities) {
        if (site < 0 || site >= source.num_sites) throw nb::value_error("a parity is of no site");
        round.parities[site >> 6] ^= uint64_t{1} << (site & 63);
    }
    source.rounds.push_back(std::move(round));
}

// A stream with what its calls give back. Calls from several threads at once are refused.
class BoundStream {
  public:
    BoundStream(std::shared_ptr<streams::RoundSource> source, std::shared_ptr<streams::Model> model, bool staged)
        : stream(source, model, staged) {}

    nb::tuple push(const Bits& rows, const std::optional<Bytes>& erased) {
        const Turn turn(busy_);
        const int64_t count = static_cast<int64_t>(rows.shape(0)), stride = static_cast<int64_t>(rows.shape(1));
        if (erased && static_cast<int64_t>(erased->size()) != count) {
            throw nb::value_error(("erased has " + std::to_string(erased->size()) + " flags for " +
                                   std::to_string(count) + " rounds")
                                      .c_str());
        }
        int64_t taken = 0;
        const uint8_t* flags = erased ? erased->data() : nullptr;
        const streams::Status status = without_gil(
            count, [&] { return stream.push(rows.data(), stride, flags, count, commits_, &taken); });
        return nb::make_tuple(taken, status, taken_commits());
    }

    nb::tuple finish(const Bytes& row) {
        const Turn turn(busy_);
        const int32_t due = (stream.width(stream.pushed(), true) + 7) / 8;
        if (static_cast<int32_t>(row.size()) != due) {
            throw nb::value_error((std::to_string(row.size()) + " bytes for the last round, number " +
                                   std::to_string(stream.pushed()) + "; " + std::to_string(due) + " are due")
                                      .c_str());
        }
        const streams::Status status =
            without_gil(kManyRounds, [&] { return stream.finish(row.data(), commits_); });
        return nb::make_tuple(status, taken_commits());
    }

    nb::tuple resume() {
        const Turn turn(busy_);
        const streams::Status status = without_gil(kManyRounds, [&] { return stream.resume(commits_); });
        return nb::make_tuple(status, taken_commits());
    }

    // (serial of the model, window, layers of the experiment it is cut from).
    nb::tuple missing() const {
        const streams::MissingWindow& found = stream.missing();
        const streams::Window& at = found.window;
        return nb::make_tuple(found.model->serial,
                              nb::make_tuple(at.start, at.lo, at.hi, at.stop, at.past_closed, at.future_closed),
                              found.num_layers);
    }

    nb::bytes frame() const { return packed(stream.frame().data()); }

    nb::bytes readout() const {
        std::vector<uint64_t> bits(stream.frame().size());
        stream.readout(bits.data());
        for (size_t w = 0; w < bits.size(); w++) bits[w] ^= stream.frame()[w];
        return packed(bits.data());
    }

    nb::bytes handed_off() const {
        const std::vector<uint64_t>& row = stream.handed_off();
        return nb::bytes(row.data(), 8 * row.size());
    }

    void receive(const Bytes& layer, const Bytes& flips) {
        const size_t words = stream.handed_off().size(), flip_words = stream.frame().size();
        if (layer.size() != 8 * words || flips.size() != 8 * flip_words) {
            throw nb::value_error(("a layer of " + std::to_string(layer.size()) + " bytes with flips of " +
                                   std::to_string(flips.size()) + "; " + std::to_string(8 * words) + " and " +
                                   std::to_string(8 * flip_words) + " are due")
                                      .c_str());
        }
        std::vector<uint64_t> rows(words + flip_words);
        std::memcpy(rows.data(), layer.data(), layer.size());
        std::memcpy(rows.data() + words, flips.data(), flips.size());
        stream.receive(rows.data(), rows.data() + words);
    }

    streams::Stream stream;

  private:
    // Refuses a second thread.
    class Turn {
      public:
        explicit Turn(std::atomic_flag& busy) : busy_(busy) {
            if (busy_.test_and_set()) throw nb::value_error("another thread uses this stream now");
        }
        ~Turn() { busy_.clear(); }

      private:
        std::atomic_flag& busy_;
    };

    template <class Work>
    streams::Status without_gil(int64_t rounds, Work work) {
        commits_.clear();
        if (rounds < kManyRounds) return work();  // to get the interpreter back may take longer than the rounds
        const nb::gil_scoped_release release;
        return work();
    }

    nb::bytes packed(const uint64_t* words) const {
        return nb::bytes(words, (stream.source().num_observables + 7) / 8);
    }

    // (upto_round, frame, flags, id of the model) of each.
    nb::list taken_commits() {
        nb::list found;
        const size_t words = stream.frame().size();
        for (size_t k = 0; k < commits_.items.size(); k++) {
            const streams::Commit& commit = commits_.items[k];
            found.append(nb::make_tuple(commit.upto_round, packed(commits_.frames.data() + k * words), commit.flags,
                                        commit.model->id));
        }
        return found;
    }

    streams::Commits commits_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

// `uint8 (S, ceil(detectors / 8))` -> `uint8 (S, ceil(observables / 8))`, packed, LSB first.
BitsOut decode_batch(streams::WindowBatch& batch, const Bits& packed) {
    const size_t width = (batch.num_detectors() + 7) / 8;
    if (packed.shape(1) != width) {
        throw nb::value_error(("shots of " + std::to_string(packed.shape(1)) + " bytes; " + std::to_string(width) +
                               " are due")
                                  .c_str());
    }
    BitsOut flips = new_bits(packed.shape(0), (batch.num_observables() + 7) / 8);
    std::pair<int64_t, int64_t> failed;
    {
        const nb::gil_scoped_release release;
        failed = batch.decode(packed.data(), static_cast<int64_t>(packed.shape(0)), flips.data());
    }
    if (failed.first >= 0) {
        throw nb::value_error(("no set of edges explains the detections of shot " + std::to_string(failed.first) +
                               " in window " + std::to_string(failed.second))
                                  .c_str());
    }
    return flips;
}

void bind_windows(nb::module_& module) {
    using streams::WindowDecoder;
    nb::class_<WindowDecoder>(module, "WindowDecoder", "The matching of windows that are equal; threads take turns.")
        .def(nb::new_(&make_decoder), nb::kw_only(), nb::arg("num_layers"), nb::arg("num_sites"),
             nb::arg("num_observables"), nb::arg("inputs"), nb::arg("artificial_defects"), nb::arg("ends"),
             nb::arg("weights"), nb::arg("starts"), nb::arg("flips"), nb::arg("together"), nb::arg("others"),
             nb::arg("joint"), nb::arg("certain_inputs"), nb::arg("certain_flips"))
        .def("decode", &decode_inputs, nb::arg("detections"),
             "Decode uint8 0/1 (S, inputs) to uint8 0/1 (S, fault ids): observables, then artificial defects.\n\n"
             "Raises ValueError where no set of edges explains a shot.")
        .def(
            "freed",
            [](const WindowDecoder& base, std::tuple<int64_t, int64_t, int64_t, int64_t, bool, bool> at,
               const std::vector<Lost>& errors) { return base.freed(window_of(at), components_of(errors)); },
            nb::arg("window"), nb::arg("errors"), "The same window where these errors are as likely as not.")
        .def_prop_ro("num_edges", [](const WindowDecoder& d) { return d.graph().graph.first.size(); })
        .def_prop_ro("num_bytes", &WindowDecoder::num_bytes)
        .def_prop_ro("artificial_defects", [](const WindowDecoder& decoder) {
            std::vector<std::pair<int32_t, int32_t>> places;
            for (const streams::Place& at : decoder.graph().artificial_defects) places.emplace_back(at.layer, at.site);
            return places;
        });
    nb::class_<streams::WindowSet>(module, "WindowSet", "The decoders of a model's windows by key.")
        .def(nb::init<size_t>(), nb::arg("most_erased_bytes"))
        .def("add", &streams::WindowSet::add, nb::arg("key"), nb::arg("decoder"))
        .def("__len__", &streams::WindowSet::size)
        .def_prop_ro("num_erased", &streams::WindowSet::num_erased)
        .def_prop_ro("erased_bytes", &streams::WindowSet::erased_bytes);
    nb::class_<streams::WindowBatch>(module, "WindowBatch", "The windows of an experiment on whole shots.")
        .def(
            "__init__",
            [](streams::WindowBatch* self, const std::vector<int64_t>& starts,
               const std::vector<std::shared_ptr<WindowDecoder>>& decoders, const Pairs& detectors, int32_t num_sites,
               int32_t num_observables, std::vector<int32_t> certain_observables) {
                if (starts.size() != decoders.size()) throw nb::value_error("as many starts as decoders are due");
                std::vector<streams::PlacedWindow> windows;
                for (size_t k = 0; k < starts.size(); k++) windows.push_back({starts[k], decoders[k]});
                new (self) streams::WindowBatch(std::move(windows), places_of(detectors), num_sites, num_observables,
                                                std::move(certain_observables));
            },
            nb::kw_only(), nb::arg("starts"), nb::arg("decoders"), nb::arg("detectors"), nb::arg("num_sites"),
            nb::arg("num_observables"), nb::arg("certain_observables"))
        .def("decode", &decode_batch, nb::arg("packed"),
             "Decode uint8 (S, ceil(detectors / 8)) to uint8 (S, ceil(observables / 8)), little-endian bits.");
}

void bind_stream(nb::module_& module) {
    nb::class_<streams::Model>(module, "StreamModel", "How a model's layers follow each other, and its windows.")
        .def(
            "__init__",
            [](streams::Model* self, std::string id, std::vector<int32_t> kinds, int64_t cut, int64_t cycle,
               int64_t reach, int64_t commit, int64_t buffer, bool parallel, int64_t slack,
               std::vector<int32_t> certain_observables, std::shared_ptr<streams::WindowSet> windows) {
                new (self) streams::Model(std::move(id), {std::move(kinds), cut, cycle}, reach,
                                          {commit, buffer, parallel}, slack, std::move(certain_observables),
                                          std::move(windows));
            },
            nb::kw_only(), nb::arg("id"), nb::arg("kinds"), nb::arg("cut"), nb::arg("cycle"), nb::arg("reach"),
            nb::arg("commit"), nb::arg("buffer"), nb::arg("parallel"), nb::arg("slack"),
            nb::arg("certain_observables"), nb::arg("windows"))
        .def_ro("id", &streams::Model::id)
        .def_ro("serial", &streams::Model::serial);
    nb::class_<streams::RoundSource>(module, "RoundSource", "How layers of detections follow from rounds.")
        .def(nb::new_(&make_source), nb::kw_only(), nb::arg("kinds"), nb::arg("cut"), nb::arg("cycle"),
             nb::arg("given_layers"), nb::arg("num_sites"), nb::arg("measured"), nb::arg("depth"),
             nb::arg("num_observables"), nb::arg("observables"), nb::arg("observable_parities"),
             nb::arg("certain_observables"))
        .def("add_round", &add_round, nb::kw_only(), nb::arg("width"), nb::arg("terms"), nb::arg("parities"),
             nb::arg("lost"))
        .def("check", &streams::RoundSource::check);
    nb::enum_<streams::Status>(module, "StreamStatus")
        .value("DONE", streams::Status::kDone)
        .value("MISSING", streams::Status::kMissing)
        .value("UNEXPLAINED", streams::Status::kUnexplained);
    nb::class_<BoundStream>(module, "Stream", "One stream of shots in process; see native/streams/stream.h.")
        .def(nb::init<std::shared_ptr<streams::RoundSource>, std::shared_ptr<streams::Model>, bool>(),
             nb::arg("source"), nb::arg("model"), nb::kw_only(), nb::arg("external_stage"))
        .def("open", [](BoundStream& self) { self.stream.open(); })
        .def("close", [](BoundStream& self) { self.stream.close(); })
        .def("width", [](const BoundStream& self, int64_t round, bool final) { return self.stream.width(round, final); },
             nb::arg("round"), nb::arg("final"))
        .def("push", &BoundStream::push, nb::arg("rows"), nb::arg("erased").none())
        .def("finish", &BoundStream::finish, nb::arg("row"))
        .def("resume", &BoundStream::resume)
        .def("adopt",
             [](BoundStream& self, std::shared_ptr<streams::Model> model, int64_t at_round) {
                 self.stream.adopt(std::move(model), at_round);
             },
             nb::arg("model"), nb::arg("at_round"))
        .def("missing", &BoundStream::missing)
        .def("receive", &BoundStream::receive, nb::arg("layer"), nb::arg("flips"))
        .def_prop_ro("is_open", [](const BoundStream& self) { return self.stream.is_open(); })
        .def_prop_ro("pushed", [](const BoundStream& self) { return self.stream.pushed(); })
        .def_prop_ro("upto", [](const BoundStream& self) { return self.stream.upto(); })
        .def_prop_ro("held_layers", [](const BoundStream& self) { return self.stream.held_layers(); })
        .def_prop_ro("serials", [](const BoundStream& self) { return self.stream.serials(); })
        .def_prop_ro("flags", [](const BoundStream& self) { return self.stream.flags(); })
        .def_prop_ro("model", [](const BoundStream& self) { return self.stream.model().id; })
        .def_prop_ro("frame", &BoundStream::frame)
        .def_prop_ro("readout", &BoundStream::readout)
        .def_prop_ro("handed_off", &BoundStream::handed_off);
}

}  // namespace

void bind_streams(nb::module_& module) {
    bind_windows(module);
    bind_stream(module);
}

}  // namespace qecpipe::bindings
