#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/interpreter_lock.h"
#include "bindings/streams_arrays.h"
#include "bindings/turn.h"
#include "service/stream_decoder.h"
#include "streams/site_network.h"
#include "streams/stream.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

constexpr int64_t kManyRounds = 32;  // from so many on, a call takes long enough to let other threads run

using Term = std::tuple<std::vector<int32_t>, std::vector<int32_t>, std::vector<int32_t>>;

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
        if (site < 0 || site >= source.num_sites) throw std::invalid_argument("a parity is of no site");
        round.parities[site >> 6] ^= uint64_t{1} << (site & 63);
    }
    source.rounds.push_back(std::move(round));
}

// A pre-decoder that a model brings. Its network is tried out once, so that what does not fit is found here.
std::shared_ptr<streams::Front> make_front(std::shared_ptr<streams::StageTables> tables,
                                           std::shared_ptr<const network::Network> network,
                                           std::shared_ptr<const network::Timeline> timeline,
                                           std::vector<int64_t> bits) {
    tables->check();
    auto front = std::make_shared<streams::Front>(streams::Front{tables, {}});
    if (!network) return front;
    if (!timeline || std::ssize(bits) != tables->num_sites) {
        throw std::invalid_argument("a network needs a timeline and a bit for every site");
    }
    const streams::SiteNetwork layers(network, timeline, bits);
    if (layers.layer_size() != tables->layer_size) {
        throw std::invalid_argument("the network has " + std::to_string(layers.layer_size()) +
                                    " logits in a layer, the stage " + std::to_string(tables->layer_size));
    }
    front->make_network = [network, timeline, bits = std::move(bits)] {
        return std::make_unique<streams::SiteNetwork>(network, timeline, bits);
    };
    return front;
}

// A stream with what its calls give back. Calls from several threads at once are refused.
class BoundStream {
  public:
    BoundStream(std::shared_ptr<streams::RoundSource> source, std::shared_ptr<streams::Model> model,
                std::shared_ptr<streams::Model> short_model, double gap_scale)
        : stream(source, model, short_model, gap_scale) {}

    void open() {
        const Turn turn(busy_, "stream");
        stream.open();
    }

    void close() {
        const Turn turn(busy_, "stream");
        stream.close();
    }

    void adopt(std::shared_ptr<streams::Model> model, int64_t at_round) {
        const Turn turn(busy_, "stream");
        stream.adopt(std::move(model), at_round);
    }

    nb::tuple push(const AnyArray& packed_rows, const std::optional<AnyArray>& erased) {
        const Turn turn(busy_, "stream");
        const auto rows = checked<uint8_t>("packed_rows", packed_rows, {kAny, kAny});
        const int64_t count = rows.shape(0), stride = rows.shape(1);
        std::optional<Checked<uint8_t>> lost;
        if (erased) lost = checked<uint8_t>("erased", *erased, {count});
        int64_t taken = 0;
        const uint8_t* flags = lost ? lost->data() : nullptr;
        const streams::Status status = without_gil(
            count, [&] { return stream.push(rows.data(), stride, flags, count, commits_, &taken); });
        return nb::make_tuple(taken, status, taken_commits());
    }

    nb::tuple finish(const AnyArray& last) {
        const Turn turn(busy_, "stream");
        const auto row = checked<uint8_t>("row", last, {(stream.width(stream.pushed(), true) + 7) / 8});
        const streams::Status status =
            without_gil(kManyRounds, [&] { return stream.finish(row.data(), commits_); });
        return nb::make_tuple(status, taken_commits());
    }

    nb::tuple resume() {
        const Turn turn(busy_, "stream");
        const streams::Status status = without_gil(kManyRounds, [&] { return stream.resume(commits_); });
        return nb::make_tuple(status, taken_commits());
    }

    // (serial of the model, window, layers of the experiment it is cut from).
    nb::tuple missing() const {
        const streams::MissingWindow& found = stream.missing();
        const streams::Window& at = found.window;
        return nb::make_tuple(
            found.serial, nb::make_tuple(at.start, at.lo, at.hi, at.stop, at.past_closed, at.future_closed),
            found.num_layers);
    }

    nb::bytes frame() const { return packed(stream.frame().data()); }

    nb::bytes readout() const {
        std::vector<uint64_t> bits(stream.frame().size());
        stream.readout(bits.data());
        for (size_t w = 0; w < bits.size(); w++) bits[w] ^= stream.frame()[w];
        return packed(bits.data());
    }

    nb::bytes detections() {
        return nb::bytes(stream.detections(), (stream.source().num_sites + 63) / 64 * sizeof(uint64_t));
    }

    nb::tuple give_logits(const AnyArray& layers) {
        const Turn turn(busy_, "stream");
        const auto rows = checked<float>("logits", layers, {kAny, stream.layer_size()});
        const streams::Status status = without_gil(rows.shape(0), [&] {
            stream.give_logits(rows.data(), rows.shape(0));
            return stream.resume(commits_);
        });
        return nb::make_tuple(status, taken_commits());
    }

    streams::Stream stream;

  private:
    template <class Work>
    streams::Status without_gil(int64_t rounds, Work work) {
        commits_.clear();
        if (rounds < kManyRounds)
            return work();  // to get the interpreter back may take longer than the rounds
        const InterpreterReleased release;
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
            found.append(nb::make_tuple(commit.upto_round, packed(commits_.frames.data() + k * words),
                                        commit.flags, commit.model->id));
        }
        return found;
    }

    streams::Commits commits_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

}  // namespace

void bind_stream(nb::module_& module) {
    nb::class_<streams::Front>(module, "StreamFront",
                               "A pre-decoder in front of windows; see native/streams/front.h.")
        .def(nb::new_(&make_front), "tables"_a, nb::kw_only(), "network"_a.none() = nb::none(),
             "timeline"_a.none() = nb::none(), "bits"_a = std::vector<int64_t>(),
             "Without a network, logits come by `Stream.give_logits`.");
    nb::class_<streams::Model>(module, "StreamModel",
                               "How a model's layers follow each other, and its windows.")
        .def(
            "__init__",
            [](streams::Model* self, std::string id, std::vector<int32_t> kinds, int64_t cut, int64_t cycle,
               int64_t reach, int64_t ahead, int64_t commit, int64_t buffer, bool parallel, int64_t slack,
               std::vector<int32_t> certain_observables, std::shared_ptr<streams::WindowSet> windows,
               std::shared_ptr<streams::Front> front) {
                new (self) streams::Model(std::move(id), {std::move(kinds), cut, cycle}, reach, ahead,
                                          {commit, buffer, parallel}, slack, std::move(certain_observables),
                                          std::move(windows), std::move(front));
            },
            nb::kw_only(), "id"_a, "kinds"_a, "cut"_a, "cycle"_a, "reach"_a, "ahead"_a, "commit"_a,
            "buffer"_a, "parallel"_a, "slack"_a, "certain_observables"_a, "windows"_a,
            "front"_a.none() = nb::none())
        .def_ro("id", &streams::Model::id)
        .def_ro("serial", &streams::Model::serial);
    nb::class_<streams::RoundSource>(module, "RoundSource", "How layers of detections follow from rounds.")
        .def(nb::new_(&make_source), nb::kw_only(), "kinds"_a, "cut"_a, "cycle"_a, "given_layers"_a,
             "num_sites"_a, "measured"_a, "depth"_a, "num_observables"_a, "observables"_a,
             "observable_parities"_a, "certain_observables"_a)
        .def("add_round", &add_round, nb::kw_only(), "width"_a, "terms"_a, "parities"_a, "lost"_a)
        .def("check", &streams::RoundSource::check);
    nb::enum_<streams::Status>(module, "StreamStatus")
        .value("DONE", streams::Status::kDone)
        .value("MISSING", streams::Status::kMissing)
        .value("UNEXPLAINED", streams::Status::kUnexplained);
    nb::class_<BoundStream>(module, "Stream", "One stream of shots in process; see native/streams/stream.h.")
        .def(nb::init<std::shared_ptr<streams::RoundSource>, std::shared_ptr<streams::Model>,
                      std::shared_ptr<streams::Model>, double>(),
             "source"_a, "model"_a, nb::kw_only(), "short_model"_a.none() = nb::none(), "gap_scale"_a = 0.0,
             "short_model: decodes shots too short for a network whose logits windows are matched on. "
             "gap_scale: "
             "factor on gaps; 0 for none.")
        .def("open", &BoundStream::open)
        .def("close", &BoundStream::close)
        .def(
            "width",
            [](const BoundStream& self, int64_t round, bool final) {
                return self.stream.width(round, final);
            },
            "round"_a, "final"_a)
        .def("push", &BoundStream::push, "packed_rows"_a, "erased"_a.none())
        .def("finish", &BoundStream::finish, "row"_a)
        .def("resume", &BoundStream::resume)
        .def("adopt", &BoundStream::adopt, "model"_a, "at_round"_a)
        .def("missing", &BoundStream::missing)
        .def("give_logits", &BoundStream::give_logits, "logits"_a)
        .def_prop_ro(
            "needs_logits", [](const BoundStream& self) { return self.stream.needs_logits(); },
            "Whether logits have to come by `give_logits`: the network is elsewhere.")
        .def_prop_ro("is_open", [](const BoundStream& self) { return self.stream.is_open(); })
        .def_prop_ro("pushed", [](const BoundStream& self) { return self.stream.pushed(); })
        .def_prop_ro("upto", [](const BoundStream& self) { return self.stream.upto(); })
        .def_prop_ro("held_layers", [](const BoundStream& self) { return self.stream.held_layers(); })
        .def_prop_ro("serials", [](const BoundStream& self) { return self.stream.serials(); })
        .def_prop_ro("flags", [](const BoundStream& self) { return self.stream.flags(); })
        .def_prop_ro("model", [](const BoundStream& self) { return self.stream.model().id; })
        .def_prop_ro("frame", &BoundStream::frame)
        .def_prop_ro("readout", &BoundStream::readout)
        .def_prop_ro(
            "gap", [](const BoundStream& self) { return self.stream.gap(); },
            "Nats between the classes of the last window of the shot that ended; not a number without any.")
        .def_prop_ro("was_short", [](const BoundStream& self) { return self.stream.was_short(); })
        .def_prop_ro("detections", &BoundStream::detections);
}

void bind_stream_decoder(nb::module_& module) {
    using service::StreamRowDecoder;
    nb::class_<StreamRowDecoder, service::RowDecoder>(
        module, "StreamRowDecoder",
        "Decodes with a `Stream`, without the interpreter, for `Session.open`.\n\n"
        "The stream is used by nothing else. Where it needs a window that its model has no graph for, "
        "`Blocked` "
        "comes: add what `Stream.missing` says and call `Session.unblock`, after `give_up` if it cannot be.")
        .def(
            "__init__",
            [](StreamRowDecoder* self, BoundStream& stream,
               const std::vector<std::pair<uint64_t, uint32_t>>& layers, uint32_t final_bits,
               uint32_t num_observables, bool measured) {
                std::vector<service::Run> runs;
                for (const auto& [rounds, bits] : layers) runs.push_back({rounds, bits});
                new (self) StreamRowDecoder(
                    stream.stream, service::Shape(std::move(runs), final_bits, num_observables, 1), measured);
            },
            nb::keep_alive<1, 2>(), "stream"_a, nb::kw_only(), "layers"_a, "final_bits"_a,
            "num_observables"_a, "measured"_a)
        .def(
            "prepare",
            [](StreamRowDecoder& self, std::shared_ptr<streams::Model> model) {
                self.prepare(std::move(model));
            },
            "model"_a, "What takes over at the next swap.")
        .def("give_up", &StreamRowDecoder::give_up, "reason"_a,
             "The window that is missing cannot be built: its shot is abandoned.");
}

}  // namespace qecpipe::bindings
