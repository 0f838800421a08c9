// The data plane of the decoder service; what each name means is in native/service.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/bound_session.h"
#include "bindings/interpreter_lock.h"
#include "bindings/python_decoder.h"
#include "service/crc32.h"
#include "service/density.h"
#include "service/parity_decoder.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

using service::Session;
using service::StreamSession;

void BoundSession::close(uint32_t stream) {
    use()->remove(stream);
    decoders_.erase(stream);
}

std::vector<service::Event> BoundSession::take_events() {
    const Use session = use();
    std::erase_if(decoders_, [&](const auto& entry) { return session->find(entry.first) == nullptr; });
    return session->take_events();
}

namespace {

using Layers = std::vector<std::pair<uint64_t, uint32_t>>;

const uint8_t* data_of(const nb::bytes& bytes) { return reinterpret_cast<const uint8_t*>(bytes.c_str()); }
nb::bytes to_bytes(const uint8_t* data, size_t size) { return nb::bytes(data, size); }

service::ModelId model_id(const nb::bytes& id) {
    service::ModelId model{};
    if (id.size() != model.size()) throw std::invalid_argument("a model id has 8 bytes");
    std::memcpy(model.data(), id.c_str(), model.size());
    return model;
}

service::Shape shape_of(const Layers& layers, uint32_t final_bits, uint32_t num_observables,
                        uint64_t commit) {
    std::vector<service::Run> runs;
    for (const auto& [rounds, bits] : layers) runs.push_back({rounds, bits});
    return {std::move(runs), final_bits, num_observables, commit};
}

void make_session(BoundSession* self, uint32_t round_bytes, uint32_t control_bytes, uint32_t upload_bytes,
                  uint64_t garbage_bytes, uint64_t faults, uint64_t output_bytes, int64_t time_slice_ns,
                  bool manual_clock) {
    service::SessionConfig config;
    config.limits = {round_bytes, control_bytes, upload_bytes, garbage_bytes};
    config.faults = faults, config.output_bytes = output_bytes, config.time_slice = time_slice_ns;
    new (self) BoundSession(config, manual_clock);
}

void open_stream(BoundSession& self, uint32_t stream, nb::object decoder, const Layers& layers,
                 uint32_t final_bits, uint32_t num_observables, uint64_t commit, uint64_t window,
                 int64_t gap_deadline_ns, bool erase, uint64_t segment_bytes, int journal_fd,
                 uint64_t journal_size, std::pair<uint32_t, uint64_t> place, uint64_t outputs) {
    if (window < 1 || window > uint64_t{1} << 24) throw std::invalid_argument("window: not in [1, 2^24]");
    if (gap_deadline_ns < 1) throw std::invalid_argument("gap_deadline_ns: must be at least 1");
    service::Shape shape = shape_of(layers, final_bits, num_observables, commit);
    if (place.second > shape.rounds()) throw std::invalid_argument("place: past the end of a shot");
    service::StreamOptions options;
    options.ordering = {window, gap_deadline_ns, erase};
    options.segment_bytes = segment_bytes;
    options.start = {place.first, place.second};
    options.outputs = outputs;
    service::Journal journal =
        journal_fd < 0 ? service::Journal() : service::Journal(journal_fd, journal_size);
    auto& rows = nb::cast<service::RowDecoder&>(decoder);
    self.use()->add(stream, std::move(shape), rows, std::move(journal), options);
    self.keep(stream, std::move(decoder));
}

void feed(BoundSession& self, const nb::bytes& data) {
    const uint8_t* from = data_of(data);
    const size_t size = data.size();
    InterpreterReleased released;
    self.use()->feed(from, size);
}

nb::bytes take_output(BoundSession& self) {
    const auto session = self.use();
    nb::bytes output = to_bytes(session->output_data(), session->output_size());
    session->sent(session->output_size());
    return output;
}

// Outputs of an earlier life of the stream, encoded one after the other.
void keep_outputs(BoundSession& self, uint32_t stream, const nb::bytes& frames) {
    const auto session = self.use();
    service::OutputLog& log = session->get(stream).log();
    const uint8_t* at = data_of(frames);
    for (size_t left = frames.size(); left > 0;) {
        uint32_t length = 0;
        uint64_t sequence = 0;
        if (left < service::kHeaderBytes) throw std::invalid_argument("frames: cut short");
        std::memcpy(&length, at + 12, sizeof length), std::memcpy(&sequence, at + 16, sizeof sequence);
        const size_t size = service::kHeaderBytes + length;
        if (left < size) throw std::invalid_argument("frames: cut short");
        log.keep(at, size, sequence);
        at += size, left -= size;
    }
}

std::optional<nb::bytes> resend(BoundSession& self, uint32_t stream, uint64_t after) {
    service::Bytes out;
    if (!self.use()->get(stream).log().resend(after, out)) return std::nullopt;
    return to_bytes(out.data(), out.size());
}

void continue_journal(BoundSession& self, uint32_t stream, int fd, uint64_t size) {
    self.use()->get(stream).journal().move_to(fd, size);
}

// (rounds, uint32 of each bit the rounds in which it is set).
nb::tuple count_ones(BoundSession& self, uint32_t stream, uint64_t most, uint32_t bits, uint32_t compared) {
    const auto session = self.use();
    const StreamSession& found = session->get(stream);
    const service::Ones ones = service::count_ones(found.ordering(), found.shape(), most, bits, compared);
    NewArray<uint32_t> each({static_cast<int64_t>(bits)});
    std::copy(ones.each.begin(), ones.each.end(), each.data());
    return nb::make_tuple(ones.rounds, each.release());
}

nb::dict stats_of(BoundSession& self, uint32_t stream) {
    const service::Stats stats = self.use()->get(stream).stats();
    nb::dict found;
    const std::pair<const char*, uint64_t> items[] = {
        {"rounds", stats.rounds},         {"shots", stats.shots},         {"commits", stats.commits},
        {"duplicates", stats.duplicates}, {"conflicts", stats.conflicts}, {"nacks", stats.nacks},
        {"erased", stats.erased},         {"failed", stats.failed},       {"late", stats.late},
        {"overloads", stats.overloads},   {"in_flight", stats.in_flight},
    };
    for (const auto& [name, value] : items) found[name] = value;
    return found;
}

// (rows, total waiting ns, total decoding ns, rows by log2 of their waiting, by log2 of their decoding time).
nb::tuple take_latencies(BoundSession& self, uint32_t stream) {
    const service::Latencies taken = std::exchange(self.use()->get(stream).latencies(), {});
    const std::vector<uint64_t> waited(taken.waited_log2.begin(), taken.waited_log2.end());
    const std::vector<uint64_t> decoding(taken.decoding_log2.begin(), taken.decoding_log2.end());
    return nb::make_tuple(taken.rows, taken.waited, taken.decoding, waited, decoding);
}

std::string serve(BoundSession& self, int fd, int wake_fd, double timeout, double busy_poll,
                  service::DutyCycle* duty) {
    const int64_t timeout_ns = nanoseconds("timeout", timeout),
                  busy_poll_ns = nanoseconds("busy_poll", busy_poll);
    service::DutyCycle all(1);
    const InterpreterReleased released;
    const auto session = self.use();
    switch (service::serve(*session, fd, wake_fd, timeout_ns, busy_poll_ns, duty == nullptr ? all : *duty)) {
        case service::Served::kEvents: return "events";
        case service::Served::kWoken: return "woken";
        case service::Served::kTimeout: return "timeout";
        case service::Served::kClosed: return "closed";
        default: return "finished";
    }
}

void bind_events(nb::module_& module) {
    nb::class_<service::ControlFrame>(module, "ControlFrame", "A frame for the control plane.")
        .def_prop_ro("type", [](const service::ControlFrame& self) { return self.header.type; })
        .def_prop_ro("stream", [](const service::ControlFrame& self) { return self.header.stream; })
        .def_prop_ro("epoch", [](const service::ControlFrame& self) { return self.header.epoch; })
        .def_prop_ro("sequence", [](const service::ControlFrame& self) { return self.header.sequence; })
        .def_prop_ro("flags", [](const service::ControlFrame& self) { return self.header.flags; })
        .def_prop_ro("payload", [](const service::ControlFrame& self) {
            return to_bytes(self.payload.data(), self.payload.size());
        });
    nb::class_<service::Swapped>(module, "Swapped", "The model of `Session.swap` took over.")
        .def_ro("stream", &service::Swapped::stream)
        .def_prop_ro("model", [](const service::Swapped& self) { return self.swap.model; })
        .def_prop_ro("kind", [](const service::Swapped& self) { return self.swap.kind; })
        .def_prop_ro("epoch", [](const service::Swapped& self) { return self.swap.epoch; })
        .def_prop_ro("at_round", [](const service::Swapped& self) { return self.swap.at_round; });
    nb::class_<service::Blocked>(module, "Blocked",
                                 "A decoder waits for what has to be built: `Session.unblock`.")
        .def_ro("stream", &service::Blocked::stream);
    nb::class_<service::JournalDue>(module, "JournalDue",
                                    "Between two shots, with a full segment: `Session.continue_journal`.")
        .def_ro("stream", &service::JournalDue::stream);
    nb::class_<service::JournalFailed>(module, "JournalFailed",
                                       "The stream is gone, because its journal could not be written.")
        .def_ro("stream", &service::JournalFailed::stream)
        .def_ro("reason", &service::JournalFailed::reason);
    nb::class_<service::Damaged>(module, "Damaged", "Damage on the wire, which was answered.")
        .def_prop_ro("kind",
                     [](const service::Damaged& self) {
                         static constexpr const char* names[] = {"garbage",      "bad-crc",
                                                                 "unknown-type", "bad-version",
                                                                 "too-large",    "too-much-garbage"};
                         return names[static_cast<int>(self.kind)];
                     })
        .def_ro("fatal", &service::Damaged::fatal);
}

void bind_decoders(nb::module_& module) {
    nb::class_<service::RowDecoder>(module, "RowDecoder", "A decoder of packed rows, for `Session.open`.");
    nb::class_<PythonDecoder, service::RowDecoder>(
        module, "PythonDecoder",
        "Calls a Python object that has `open`, `push`, `finish`, `adopt` "
        "and `model_id` as decoder_service.server's RoundDecoder.")
        .def(
            "__init__",
            [](PythonDecoder* self, nb::object decoder, const Layers& layers, uint32_t final_bits,
               uint32_t num_observables) {
                new (self)
                    PythonDecoder(std::move(decoder), shape_of(layers, final_bits, num_observables, 1));
            },
            nb::kw_only(), "decoder"_a, "layers"_a, "final_bits"_a, "num_observables"_a)
        .def("prepare", &PythonDecoder::prepare, "prepared"_a, "What `adopt` is given at the next swap.");
    nb::class_<service::ParityDecoder, service::RowDecoder>(
        module, "ParityDecoder",
        "Commits the XOR of the rows' bytes: for tests and measurements of the plane alone.")
        .def(
            "__init__",
            [](service::ParityDecoder* self, const Layers& layers, uint32_t final_bits,
               uint32_t num_observables, uint64_t commit, const nb::bytes& model, int refuse, uint64_t block,
               bool gap) {
                new (self) service::ParityDecoder(shape_of(layers, final_bits, num_observables, commit),
                                                  model_id(model), refuse, block, gap);
            },
            nb::kw_only(), "layers"_a, "final_bits"_a, "num_observables"_a, "commit"_a, "model"_a,
            "refuse"_a = -1, "block"_a = 0, "gap"_a = false)
        .def(
            "prepare",
            [](service::ParityDecoder& self, const nb::bytes& model) { self.prepare(model_id(model)); },
            "model"_a);
}

}  // namespace

void bind_service(nb::module_& module) {
    bind_events(module);
    bind_decoders(module);
    bind_stream_decoder(module);
    nb::class_<service::DutyCycle>(
        module, "DutyCycle",
        "Lets a thread of real-time priority that spins run for a share of the time only; 1 is all of it.")
        .def(nb::init<double>(), "most"_a);
    bind_pump(module);
    nb::class_<BoundSession>(
        module, "Session",
        "The streams of one client, without sockets but for `serve`; one thread at a time.\n\n"
        "Bytes go in by `feed`, answers come out of `take_output`, and what the control plane "
        "has to do out of `take_events`. Its reference is decoder_service.session.")
        .def("__init__", &make_session, nb::kw_only(), "round_bytes"_a = 1 << 16, "control_bytes"_a = 1 << 16,
             "upload_bytes"_a = 1 << 18, "garbage_bytes"_a = 1 << 16, "faults"_a = 1000,
             "output_bytes"_a = 1 << 20, "time_slice_ns"_a = 200000, "manual_clock"_a = false)
        .def(
            "attach", [](BoundSession& self) { self.use()->attach(); },
            "Goes on over a new connection: nothing of the old one's is left, and no stream is announced.")
        .def("feed", &feed, "data"_a, "Takes bytes that arrived.")
        .def(
            "work", [](BoundSession& self) { return self.use()->work(); },
            nb::call_guard<InterpreterReleased>(),
            "Lets the stream that has waited longest decode for a time slice; True if there is more to do "
            "now.")
        .def(
            "tick", [](BoundSession& self) { self.use()->tick(); }, nb::call_guard<InterpreterReleased>(),
            "NACKs and erasures that are due.")
        .def_prop_ro(
            "next_deadline", [](BoundSession& self) { return self.use()->next_deadline(); },
            "When `tick` is due, ns of the clock; None if it is not.")
        .def_prop_rw(
            "now", [](BoundSession& self) { return self.use()->now(); }, &BoundSession::set_now,
            "The clock, ns; setting it needs `manual_clock`.")
        .def("take_output", &take_output, "Encoded frames to send, which are sent then.")
        .def("take_events", &BoundSession::take_events, "What happened since the last call, in order.")
        .def(
            "send",
            [](BoundSession& self, const nb::bytes& frames) {
                self.use()->send(data_of(frames), frames.size());
            },
            "frames"_a, "Encoded frames, after all that is to be sent already.")
        .def_prop_ro(
            "stalled", [](BoundSession& self) { return self.use()->stalled(); },
            "Nothing is read or decoded until output is sent.")
        .def_prop_ro(
            "closing", [](BoundSession& self) { return self.use()->closing(); },
            "The connection is to be closed once the output is sent.")
        .def_prop_ro(
            "at_rest", [](BoundSession& self) { return self.use()->at_rest(); },
            "Every stream is between two shots, with nothing in flight.")
        .def("open", &open_stream, "stream"_a, "decoder"_a, nb::kw_only(), "layers"_a, "final_bits"_a,
             "num_observables"_a, "commit"_a, "window"_a, "gap_deadline_ns"_a, "erase"_a = true,
             "segment_bytes"_a = 64 << 20, "journal_fd"_a = -1, "journal_size"_a = 0,
             "place"_a = std::pair<uint32_t, uint64_t>(0, 0), "outputs"_a = 0,
             "Adds a stream, announced by nobody yet.\n\n"
             "layers: runs of (rounds, bits). place, outputs: of the first row and output, of a stream that "
             "is "
             "restored.\njournal_fd: a segment with its head, at its end, which stays open until the stream "
             "is "
             "closed; -1 for none. Raises ValueError for what does not fit, or a number that is taken.")
        .def(
            "announce", [](BoundSession& self, uint32_t stream) { self.use()->get(stream).announced = true; },
            "stream"_a,
            "OPENED is in the output: the stream's own may follow. Before, outputs are only kept.")
        .def("close", &BoundSession::close, "stream"_a, "Takes a stream out; its journal is written.")
        .def_prop_ro("streams",
                     [](BoundSession& self) {
                         std::vector<uint32_t> numbers;
                         const auto session = self.use();
                         for (const auto& [number, stream] : session->streams()) numbers.push_back(number);
                         return numbers;
                     })
        .def(
            "place",
            [](BoundSession& self, uint32_t stream) {
                const service::Place place = self.use()->get(stream).place();
                return std::pair<uint32_t, uint64_t>(place.epoch, place.sequence);
            },
            "stream"_a, "(epoch, sequence) of the first row that is not decoded.")
        .def(
            "outputs",
            [](BoundSession& self, uint32_t stream) { return self.use()->get(stream).log().count(); },
            "stream"_a, "COMMITs and RESULTs so far.")
        .def("keep", &keep_outputs, "stream"_a, "frames"_a, "Takes over outputs of a journal, encoded.")
        .def("resend", &resend, "stream"_a, "after"_a,
             "Outputs from this number on, RESENT; None if they are not kept, or were never made.")
        .def(
            "mark_conflict",
            [](BoundSession& self, uint32_t stream) { self.use()->get(stream).mark_conflict(); }, "stream"_a,
            "The shot that a restored stream is in had a conflict.")
        .def(
            "swap",
            [](BoundSession& self, uint32_t stream, std::string model, std::string kind) {
                self.use()->get(stream).swap_at_boundary(std::move(model), std::move(kind));
            },
            "stream"_a, "model"_a, "kind"_a,
            "What the decoder has prepared takes over at the next window boundary: `Swapped`.")
        .def(
            "unblock", [](BoundSession& self, uint32_t stream) { self.use()->get(stream).unblock(); },
            "stream"_a, "What `Blocked` waited for is built.")
        .def("continue_journal", &continue_journal, "stream"_a, "fd"_a, "size"_a,
             "Goes on in another segment, which has its head.")
        .def(
            "count_ones", &count_ones, "stream"_a, nb::kw_only(), "most"_a, "bits"_a, "compared"_a,
            "(rounds, uint32 of every bit the rounds that have it set) of at most so many rounds that were "
            "decoded last and are still kept. Those that have another width, or are erased, are passed over. "
            "compared: bits count in which a round differs from the one so many rounds before; 0: that are "
            "set.")
        .def("stats", &stats_of, "stream"_a, "Totals, as STATS has them.")
        .def(
            "take_latencies", &take_latencies, "stream"_a,
            "(rows, total ns from arrival to decoding, total ns of decoding, rows by log2 of each) since the "
            "last call.")
        .def("serve", &serve, "fd"_a, nb::kw_only(), "wake_fd"_a = -1, "timeout"_a = 1.0, "busy_poll"_a = 0.0,
             "duty"_a = nb::none(),
             "Serves a connected stream socket, without the interpreter, until there is something to do.\n\n"
             "Returns 'events', 'woken' (wake_fd could be read), 'timeout' (s; infinity is none), 'closed' "
             "(by the peer), or "
             "'finished' (`closing`, and the output is sent).");
    module.def(
        "crc32", [](const nb::bytes& data) { return service::crc32(data_of(data), data.size()); }, "data"_a,
        "As zlib's.");
}

}  // namespace qecpipe::bindings
