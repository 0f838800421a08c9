#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "bindings/turn.h"
#include "service/pump.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

template <class To, class From = int64_t>
std::vector<To> column(const char* name, const AnyArray& array) {
    const auto values = checked<From>(name, array, {kAny});
    return {values.begin(), values.end()};
}

using StreamTuple = std::tuple<uint32_t, uint64_t, uint64_t, uint32_t>;

void make_pump(service::Pump* self, const nb::bytes& data, const AnyArray& due, const AnyArray& end,
               const AnyArray& stream, const AnyArray& rows, const std::vector<StreamTuple>& streams,
               double spin, double max_lag, double silence, double running, uint64_t outputs,
               size_t output_bytes) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(data.c_str());
    service::LoadBlocks blocks{{bytes, bytes + data.size()},
                               column<int64_t>("due", due),
                               column<uint64_t>("end", end),
                               column<uint32_t>("stream", stream),
                               column<uint64_t>("rows", rows)};
    std::vector<service::LoadStream> open;
    for (const auto& [number, rows_per_shot, before, window] : streams) {
        open.push_back({number, rows_per_shot, before, window});
    }
    const service::LoadLimits limits{nanoseconds("spin", spin), nanoseconds("max_lag", max_lag),
                                     nanoseconds("silence", silence), running};
    new (self) service::Pump(std::move(blocks), std::move(open), limits, outputs, output_bytes);
}

std::string run(service::Pump& pump, int fd, double lead, double time) {
    const int64_t lead_ns = nanoseconds("lead", lead), time_ns = nanoseconds("time", time);
    service::Pumped ended{};
    try {
        const InterpreterReleased released;
        ended = pump.run(fd, lead_ns, time_ns);
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
    switch (ended) {
        case service::Pumped::kMore: return "more";
        case service::Pumped::kDone: return "done";
        case service::Pumped::kOverloaded: return "overloaded";
        case service::Pumped::kRefused: return "refused";
        case service::Pumped::kClosed: return "closed";
        default: return "silent";
    }
}

nb::list chunks(const service::Pump& pump) {
    nb::list found;
    size_t begin = 0;
    for (const auto& [time, end] : pump.chunks()) {
        found.append(nb::make_tuple(time, nb::bytes(pump.received().data() + begin, end - begin)));
        begin = end;
    }
    return found;
}

auto sent_at(const service::Pump& pump) {
    NewArray<int64_t> times({static_cast<int64_t>(pump.blocks_sent())});
    std::copy_n(pump.sent_at().begin(), pump.blocks_sent(), times.data());
    return times.release();
}

}  // namespace

void bind_pump(nb::module_& module) {
    nb::class_<service::Pump>(
        module, "LoadPump",
        "A load's blocks out when they are due, and bytes in with the time at which they came.")
        .def("__init__", &make_pump, nb::kw_only(), "data"_a, "due"_a, "end"_a, "stream"_a, "rows"_a,
             "streams"_a, "spin"_a, "max_lag"_a, "silence"_a, "running"_a, "outputs"_a, "output_bytes"_a,
             "due, end, stream, rows: int64, of every block its ns from the start, its end in `data`, the "
             "place of "
             "its stream in `streams`, and that stream's rows up to its end. streams: (number, rows of a "
             "shot, rows "
             "sent before, window). spin, max_lag, silence: seconds. running: share of the time that it may "
             "take, 1 for all. outputs: "
             "to come, of so many bytes.")
        .def("run", &run, "fd"_a, nb::kw_only(), "lead"_a, "time"_a,
             "Sends and receives for at most `time` seconds, without the interpreter; time 0 is `lead` "
             "seconds after "
             "the first call.\n\n"
             "Returns 'more', 'done', 'overloaded' (`expect` and go on), 'refused' (an ERROR came), 'closed' "
             "(by "
             "the peer), or 'silent'. Raises OSError where the connection is lost.")
        .def("expect", &service::Pump::expect, "outputs"_a,
             "So many outputs come in all, of the blocks that were sent.")
        .def_prop_ro("outputs", &service::Pump::outputs, "COMMITs and RESULTs so far.")
        .def_prop_ro("blocks_sent", &service::Pump::blocks_sent)
        .def_prop_ro("held_back", &service::Pump::held_back, "Times that a due block found no credit.")
        .def_prop_ro("chunks", &chunks, "list of (ns from the start, what was received then).")
        .def_prop_ro("sent_at", &sent_at, nb::rv_policy::automatic,
                     "int64: when the socket had taken each block that was sent, ns from the start.");
}

}  // namespace qecpipe::bindings
