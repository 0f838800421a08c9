#include "bindings/python_decoder.h"

#include <nanobind/stl/string.h>

#include <cstring>

#include "bindings/interpreter_lock.h"

namespace nb = nanobind;

namespace qecpipe::bindings {

using service::Decoded;
using service::Outcomes;
using service::Progress;

namespace {

nb::bytes bytes_of(const uint8_t* data, size_t size) { return nb::bytes(data, size); }

void append(service::Bytes& out, const nb::bytes& bytes) {
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.c_str());
    out.insert(out.end(), data, data + bytes.size());
}

service::ModelId model_of(const nb::bytes& id) {
    service::ModelId model{};
    if (id.size() != model.size()) throw nb::value_error("a model id has 8 bytes");
    std::memcpy(model.data(), id.c_str(), model.size());
    return model;
}

}  // namespace

PythonDecoder::PythonDecoder(nb::object decoder, service::Shape shape)
    : decoder_(std::move(decoder)), shape_(std::move(shape)) {
    read_model();
}

PythonDecoder::~PythonDecoder() {
    InterpreterHeld locked;
    decoder_.reset(), prepared_.reset();
}

void PythonDecoder::read_model() { model_ = model_of(nb::cast<nb::bytes>(decoder_.attr("model_id"))); }

void PythonDecoder::open(uint32_t epoch) {
    InterpreterHeld locked;
    decoder_.attr("open")(epoch);
}

Progress PythonDecoder::push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                             Outcomes& out) {
    InterpreterHeld locked;
    const nb::object push = decoder_.attr("push");
    for (uint64_t k = 0; k < count; k++) {
        const size_t size = service::packed_bytes(shape_.bits(sequence + k));
        try {
            take(push(sequence + k, bytes_of(rows, size), erased != nullptr && erased[k] != 0, 0),
                 sequence + k, out);
        } catch (nb::python_error& error) {
            if (!refused(error)) throw;
            return {Decoded::kRefused, k};
        }
        rows += size;
    }
    return {Decoded::kDone, count};
}

Progress PythonDecoder::finish(uint64_t sequence, const uint8_t* row, Outcomes& out) {
    InterpreterHeld locked;
    const size_t size = service::packed_bytes(shape_.bits(sequence));
    try {
        take(decoder_.attr("finish")(bytes_of(row, size), 0), sequence, out);
    } catch (nb::python_error& error) {
        if (!refused(error)) throw;
        return {Decoded::kRefused, 0};
    }
    return {Decoded::kDone, 1};
}

Progress PythonDecoder::resume(Outcomes&) { return {Decoded::kDone, 0}; }

void PythonDecoder::adopt(uint64_t at_round) {
    InterpreterHeld locked;
    decoder_.attr("adopt")(std::exchange(prepared_, nb::object()), at_round);
    read_model();
}

// Outcomes as tuples (upto_round, frame_bits, model, time_in, time_out, flags, readout, gap).
void PythonDecoder::take(const nb::object& outcomes, uint64_t sequence, Outcomes& out) {
    for (const nb::handle outcome : outcomes) {
        const auto flips = nb::cast<nb::bytes>(outcome[1]);
        if (flips.size() != shape_.observable_bytes()) throw nb::value_error("frame_bits of another length");
        out.items.push_back({nb::cast<uint64_t>(outcome[0]), sequence,
                             model_of(nb::cast<nb::bytes>(outcome[2])),
                             nb::cast<uint16_t>(nb::int_(outcome[5]))});
        append(out.flips, flips);
        out.readout.clear();
        append(out.readout, nb::cast<nb::bytes>(outcome[6]));
        out.gap = outcome[7].is_none() ? Outcomes::kNoGap : nb::cast<float>(outcome[7]);
    }
}

// A ValueError is the decoder's word about the row; anything else is a fault of ours.
bool PythonDecoder::refused(nb::python_error& error) {
    if (!error.matches(PyExc_ValueError)) return false;
    reason_ = nb::cast<std::string>(nb::str(error.value()));
    return true;
}

}  // namespace qecpipe::bindings
