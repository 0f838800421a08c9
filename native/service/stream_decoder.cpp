#include "service/stream_decoder.h"

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace qecpipe::service {

namespace {

// The wire's flags by those of a commit.
uint16_t flags_of(uint8_t flags) {
    return static_cast<uint16_t>((flags & streams::kDegraded ? kDegraded : 0) |
                                 (flags & streams::kReloaded ? kReloaded : 0));
}

}  // namespace

StreamRowDecoder::StreamRowDecoder(streams::Stream& stream, Shape shape, bool measured)
    : stream_(stream), shape_(std::move(shape)), measured_(measured), model_(id_of(stream.model().id)) {
    if (stream.needs_logits())
        throw std::invalid_argument("the stream's network is elsewhere; its rows go through it");
    if (shape_.num_observables() != static_cast<uint32_t>(stream.source().num_observables)) {
        throw std::invalid_argument("num_observables: " + std::to_string(shape_.num_observables()) +
                                    ", but the stream has " +
                                    std::to_string(stream.source().num_observables));
    }
}

void StreamRowDecoder::open(uint32_t) {
    finishing_ = given_up_ = false;
    stream_.open();
}

Progress StreamRowDecoder::push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                                Outcomes& out) {
    for (uint64_t done = 0; done < count;) {
        // Rows of as many bytes are pushed at once.
        const size_t size = packed_bytes(shape_.bits(sequence + done));
        uint64_t run = 1;
        while (done + run < count && packed_bytes(shape_.bits(sequence + done + run)) == size) run++;
        int64_t taken = 0;
        commits_.clear();
        const streams::Status status =
            stream_.push(rows, static_cast<int64_t>(size), erased == nullptr ? nullptr : erased + done,
                         static_cast<int64_t>(run), commits_, &taken);
        const Decoded state = decoded(status, out);
        if (state == Decoded::kDone) {
            rows += run * size, done += run;
            continue;
        }
        // The last row that arrived is the one that is blocked, or refused: models are adopted for windows of
        // rows that are still to come, so that no window becomes due without one.
        if (taken < 1) throw std::logic_error("a window became due without a row");
        return {state, done + static_cast<uint64_t>(taken) - 1};
    }
    return {Decoded::kDone, count};
}

Progress StreamRowDecoder::finish(uint64_t, const uint8_t* row, Outcomes& out) {
    finishing_ = true;
    commits_.clear();
    const Decoded state = decoded(stream_.finish(row, commits_), out);
    return {state, state == Decoded::kDone ? 1u : 0u};
}

Progress StreamRowDecoder::resume(Outcomes& out) {
    if (std::exchange(given_up_, false)) return {Decoded::kRefused, 0};
    commits_.clear();
    const Decoded state = decoded(stream_.resume(commits_), out);
    return {state, state == Decoded::kDone ? 1u : 0u};
}

void StreamRowDecoder::adopt(uint64_t at_round) {
    if (!prepared_) return;
    model_ = id_of(prepared_->id);  // of new windows: those before `at_round` still have the old one
    stream_.adopt(std::exchange(prepared_, nullptr), static_cast<int64_t>(at_round));
}

void StreamRowDecoder::give_up(std::string reason) {
    reason_ = std::move(reason);
    given_up_ = true;
    stream_.close();
}

// Takes over what was committed by a call, and with it, at the end of a shot, its result.
Decoded StreamRowDecoder::decoded(streams::Status status, Outcomes& out) {
    append(out);
    if (status == streams::Status::kMissing) return Decoded::kBlocked;
    if (status == streams::Status::kUnexplained) {
        const streams::Window& window = stream_.failed();
        reason_ = "layers " + std::to_string(window.start) + " to " + std::to_string(window.stop - 1) +
                  " cannot be decoded: no set of edges explains the detections";
        return Decoded::kRefused;
    }
    if (!std::exchange(finishing_, false)) return Decoded::kDone;
    // The result says what the last commit says.
    const auto* frame = reinterpret_cast<const uint8_t*>(stream_.frame().data());
    const size_t size = shape_.observable_bytes();
    const uint64_t layers = shape_.rounds() + 1;
    out.items.push_back(out.items.empty()
                            ? Outcome{layers, shape_.rounds(), model(), flags_of(stream_.flags())}
                            : Outcome(out.items.back()));
    out.flips.insert(out.flips.end(), frame, frame + size);
    out.gap = static_cast<float>(stream_.gap());
    if (measured_) {
        std::vector<uint64_t> observed(stream_.frame().size());
        stream_.readout(observed.data());
        for (size_t word = 0; word < observed.size(); word++) observed[word] ^= stream_.frame()[word];
        const auto* bits = reinterpret_cast<const uint8_t*>(observed.data());
        out.readout.assign(bits, bits + size);
    }
    return Decoded::kDone;
}

void StreamRowDecoder::append(Outcomes& out) {
    const size_t size = shape_.observable_bytes(), words = stream_.frame().size();
    for (size_t k = 0; k < commits_.items.size(); k++) {
        const streams::Commit& commit = commits_.items[k];
        out.items.push_back({static_cast<uint64_t>(commit.upto_round), static_cast<uint64_t>(commit.round),
                             id_of(commit.model->id), flags_of(commit.flags)});
        const auto* frame = reinterpret_cast<const uint8_t*>(commits_.frames.data() + k * words);
        out.flips.insert(out.flips.end(), frame, frame + size);
    }
}

ModelId StreamRowDecoder::id_of(const std::string& hexadecimal) {
    ModelId id{};
    const auto value = [](char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; };
    for (size_t k = 0; k < id.size() && 2 * k + 1 < hexadecimal.size(); k++) {
        id[k] = static_cast<uint8_t>(value(hexadecimal[2 * k]) << 4 | value(hexadecimal[2 * k + 1]));
    }
    return id;
}

}  // namespace qecpipe::service
