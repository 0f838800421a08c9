// The working half of StreamSession: rows decoded, shots abandoned, models taken over, all of it recorded.
#include <algorithm>
#include <bit>

#include "service/stream_session.h"

namespace qecpipe::service {

namespace {

constexpr uint64_t kChunkRows = 64;  // decoded before what they lead to is sent
constexpr size_t kReasonBytes = 1000;
constexpr uint16_t kInherited = kDegraded | kConflict;

}  // namespace

void Latencies::count(uint64_t rows_decoded, int64_t wait, int64_t decode) {
    const auto place = [](int64_t ns) {
        return std::min<size_t>(
            39, static_cast<size_t>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(0, ns)))));
    };
    rows += rows_decoded;
    waited += rows_decoded * static_cast<uint64_t>(std::max<int64_t>(0, wait));
    decoding += static_cast<uint64_t>(std::max<int64_t>(0, decode));
    waited_log2[place(wait)] += rows_decoded;
    decoding_log2[place(decode / static_cast<int64_t>(std::max<uint64_t>(1, rows_decoded)))] += rows_decoded;
}

bool StreamSession::has_work() const {
    if (chunk_ && chunk_->blocked) return may_resume_;
    if (ordering_.has_ready()) return true;
    return swap_ && place().sequence % shape_.commit() == 0 && place().sequence != shape_.rounds();
}

Worked StreamSession::work(Clock clock, const void* context, int64_t until, Bytes& out) {
    Worked worked = Worked::kIdle;
    do {
        const int64_t now = clock(context);
        ended_shot_ = false;
        if (ordering_.next_skip() != nullptr) {
            skip(Skip(*ordering_.next_skip()), now, out);
        } else if (!chunk_ && swap(out)) {
            // The next rows are decoded with another model.
        } else if (chunk_ || begin_chunk()) {
            const Decoded state = decode_chunk();
            if (state == Decoded::kBlocked) {
                worked = Worked::kBlocked;
                break;
            }
            end_chunk(state, now, clock(context), out);
        } else {
            break;
        }
        const bool due = journal_.open() && ended_shot_ && journal_.size() > segment_bytes_;
        worked = due ? Worked::kBoundary : has_work() ? Worked::kMore : Worked::kIdle;
    } while (worked == Worked::kMore && clock(context) < until);
    return journal_.flush() ? worked : Worked::kFailed;
}

// What a row's own flags become with what is known of its shot.
uint16_t StreamSession::marks(uint32_t epoch, uint16_t flags) const {
    if (degraded_ == epoch) flags |= kDegraded;
    if (ordering_.conflicts(epoch)) flags |= kConflict;
    return flags;
}

// Gathers the next rows: of one shot, with the same flags, and none past the window boundary of a swap.
bool StreamSession::begin_chunk() {
    const uint64_t first = ordering_.decoded(), ready = ordering_.ready_rows();
    if (ready == 0) return false;
    const Place begin = place();
    uint64_t most = std::min({ready, shape_.rounds() + 1 - begin.sequence, kChunkRows});
    if (swap_) most = std::min(most, shape_.commit() - begin.sequence % shape_.commit());
    Chunk chunk{begin.epoch, begin.sequence};
    chunk.flags = marks(begin.epoch, ordering_.row_flags(first)) & ~kErased;
    block_.assign(kCountBytes, 0);
    erased_.clear(), arrived_.clear(), outcomes_.clear();
    for (; chunk.count < most; chunk.count++) {
        const uint64_t ordinal = first + chunk.count;
        const uint16_t flags = marks(begin.epoch, ordering_.row_flags(ordinal));
        if ((flags & ~kErased) != chunk.flags) break;
        const uint8_t* row = ordering_.row(ordinal);
        block_.insert(block_.end(), row, row + packed_bytes(shape_.bits(begin.sequence + chunk.count)));
        erased_.push_back(flags & kErased ? 1 : 0);
        arrived_.push_back(ordering_.arrived(ordinal));
        chunk.erased |= flags & kErased;
    }
    may_resume_ = false;
    chunk_ = chunk;
    return true;
}

// Decodes what is left of the chunk.
Decoded StreamSession::decode_chunk() {
    Chunk& chunk = *chunk_;
    const auto taken = [&](const Progress& progress) {
        chunk.taken += progress.rows;
        chunk.blocked = progress.state == Decoded::kBlocked;
        return progress.state;
    };
    if (chunk.blocked) {
        if (!std::exchange(may_resume_, false)) return Decoded::kBlocked;
        const Decoded state = taken(decoder_.resume(outcomes_));
        if (state != Decoded::kDone) return state;
    } else if (chunk.sequence == 0) {
        decoder_.open(chunk.epoch);
    }
    const bool final = chunk.sequence + chunk.count > shape_.rounds();
    const uint64_t rounds = chunk.count - (final ? 1 : 0);
    const auto row = [&] { return block_.data() + kCountBytes + shape_.size(chunk.sequence, chunk.taken); };
    if (chunk.taken < rounds) {
        const uint8_t* erased = chunk.erased ? erased_.data() + chunk.taken : nullptr;
        const Decoded state = taken(
            decoder_.push(chunk.sequence + chunk.taken, row(), erased, rounds - chunk.taken, outcomes_));
        if (state != Decoded::kDone) return state;
    }
    if (final && chunk.taken == rounds) return taken(decoder_.finish(shape_.rounds(), row(), outcomes_));
    return Decoded::kDone;
}

// Records rows and outputs, sends these, and counts both.
void StreamSession::end_chunk(Decoded state, int64_t taken_at, int64_t now, Bytes& out) {
    const Chunk chunk = *std::exchange(chunk_, std::nullopt);
    const bool refused = state == Decoded::kRefused;
    record(chunk, chunk.taken + (refused ? 1 : 0));
    const bool ended = ended_shot_ = chunk.sequence + chunk.taken > shape_.rounds();
    const size_t size = shape_.observable_bytes();
    for (size_t k = 0; k < outcomes_.items.size(); k++) {
        const Outcome& outcome = outcomes_.items[k];
        const bool result = ended && k + 1 == outcomes_.items.size();
        const bool readout = result && !outcomes_.readout.empty();
        const uint16_t flags = outcome.flags | (chunk.flags & kInherited);
        const uint64_t row = std::min<uint64_t>(outcome.after - chunk.sequence, arrived_.size() - 1);
        const Bytes& frame =
            log_.add(result ? FrameType::kResult : FrameType::kCommit, chunk.epoch, outcome, arrived_[row],
                     now, outcomes_.flips.data() + k * size, readout ? outcomes_.readout.data() : nullptr,
                     result ? outcomes_.gap : Outcomes::kNoGap, flags);
        send_output(frame, out);
    }
    stats_.commits += outcomes_.items.size();
    if (chunk.taken > 0) {
        if (chunk.flags & kDegraded) degraded_ = chunk.epoch;
        latencies_.count(chunk.taken, taken_at - arrived_[0], now - taken_at);
        ordering_.done_rows(chunk.taken);
        stats_.rounds += chunk.taken - (ended ? 1 : 0);
        stats_.shots += ended ? 1 : 0;
        const auto taken = erased_.begin() + static_cast<ptrdiff_t>(chunk.taken);
        stats_.erased += static_cast<uint64_t>(std::count(erased_.begin(), taken, 1));
    }
    if (refused) abandon({chunk.epoch, chunk.epoch + 1, decoder_.reason(), false});
}

// Notes the first rows of a chunk, which `block_` holds, as one record.
void StreamSession::record(const Chunk& chunk, uint64_t rows) {
    if (!journal_.open() || rows == 0) return;
    block_.resize(kCountBytes + shape_.size(chunk.sequence, rows));
    block_[0] = static_cast<uint8_t>(rows), block_[1] = static_cast<uint8_t>(rows >> 8);
    if (chunk.erased) {
        const size_t mask = block_.size();
        block_.resize(mask + packed_bytes(rows));
        for (uint64_t k = 0; k < rows; k++) block_[mask + k / 8] |= static_cast<uint8_t>(erased_[k] << k % 8);
    }
    const bool final = chunk.sequence + rows > shape_.rounds();
    const uint16_t flags = chunk.flags | (chunk.erased ? kErased : 0);
    journal_.note(
        header(final ? FrameType::kFinal : FrameType::kRounds, stream_, chunk.epoch, chunk.sequence, flags),
        block_.data(), block_.size());
}

void StreamSession::send_output(const Bytes& frame, Bytes& out) {
    journal_.note(frame);
    if (announced) out.insert(out.end(), frame.begin(), frame.end());
}

// Shots are abandoned: a RESULT with FAILED for each, or the answer to RESET.
void StreamSession::skip(const Skip& skip, int64_t now, Bytes& out) {
    const size_t size = std::min(skip.reason.size(), kReasonBytes);
    journal_.note(
        header(FrameType::kReset, stream_, skip.next_epoch, skip.epoch, skip.asked ? 0 : kSynthetic),
        reinterpret_cast<const uint8_t*>(skip.reason.data()), size);
    ordering_.done_skip();
    if (skip.asked) {
        if (announced) answer(out, FrameType::kReset, skip.next_epoch, 0, {});
        return;
    }
    const Bytes nothing(shape_.observable_bytes());
    for (uint32_t epoch = skip.epoch; epoch < skip.next_epoch; epoch++) {
        if (announced) error(out, ErrorCode::kShotFailed, "shot", skip.reason, epoch, 0);
        const Outcome failed{0, 0, decoder_.model(), 0};
        send_output(log_.add(FrameType::kResult, epoch, failed, now, now, nothing.data(), nullptr,
                             Outcomes::kNoGap, kFailed),
                    out);
        stats_.commits++, stats_.failed++;
    }
}

// Takes over the model that waits, if this is a window boundary.
bool StreamSession::swap(Bytes& out) {
    const Place at = place();
    if (!swap_ || at.sequence % shape_.commit() != 0 || at.sequence == shape_.rounds()) return false;
    Swap swap = *std::exchange(swap_, std::nullopt);
    swap.epoch = at.epoch, swap.at_round = at.sequence;
    const Bytes record = reload_payload(swap.model, swap.kind);
    journal_.note(header(FrameType::kReload, stream_, at.epoch, at.sequence), record.data(), record.size());
    decoder_.adopt(at.sequence);
    constexpr char digits[] = "0123456789abcdef";
    std::string id;
    for (const uint8_t byte : decoder_.model()) id += digits[byte >> 4], id += digits[byte & 15];
    if (announced)
        answer(out, FrameType::kReload, at.epoch, 0, reloaded_payload(swap.model, id, at.sequence));
    swapped_ = std::move(swap);
    return true;
}

}  // namespace qecpipe::service
