#include "service/stream_session.h"

#include <algorithm>
#include <utility>

namespace qecpipe::service {

namespace {

// What a stream answers to rows that it does not accept.
struct Refusal {
    ErrorCode code;
    const char* message;
};

Refusal refusal_of(Accepted result) {
    switch (result) {
        case Accepted::kStale:
            return {ErrorCode::kStaleEpoch, "the shot is over, or the row too old to compare"};
        case Accepted::kLate: return {ErrorCode::kLate, "the round was lost and decoded as erased"};
        case Accepted::kConflict:
            return {ErrorCode::kConflict, "other bits were accepted here; the first are used"};
        case Accepted::kBadPayload:
            return {ErrorCode::kBadPayload, "length, padding bits or flags do not fit these rounds"};
        case Accepted::kBadSequence:
            return {ErrorCode::kBadSequence, "no such round, or FINAL does not end with the last row"};
        default: return {ErrorCode::kOverload, "past the credit window; not accepted, send it again"};
    }
}

}  // namespace

StreamSession::StreamSession(uint32_t stream, Shape shape, const OrderingConfig& config, RowDecoder& decoder,
                             Journal journal, uint64_t segment_bytes, Place start, uint64_t outputs)
    : stream_(stream), shape_(std::move(shape)), decoder_(decoder), journal_(std::move(journal)),
      segment_bytes_(segment_bytes), ordering_(shape_, config, shape_.ordinal(start.epoch, start.sequence)),
      log_(stream, shape_.num_observables(), outputs), told_(ordering_.decoded()) {}

void StreamSession::receive(const Frame& frame, int64_t now, Bytes& out) {
    now = forward(now);
    if (frame.is_data()) {
        ordering_.accept(frame, now, judged_);
        for (const Judged& run : judged_) refuse(frame, run, out);
        nacks(now, out);
    } else if (frame.is(FrameType::kReset)) {
        reset(frame, out);
    } else if (frame.is(FrameType::kStats)) {
        answer(out, FrameType::kStats, 0, 0, stats_payload(stats()));
    } else {
        error(out, ErrorCode::kBadFrame, "frame",
              std::string(name_of(frame.type)) + " is not for the server, or not for an open stream",
              frame.epoch, frame.sequence);
    }
}

void StreamSession::fault(const Fault& fault, int64_t now, Bytes& out) {
    now = forward(now);
    if (fault.is_data()) {
        ordering_.damaged(fault, now);
        nacks(now, out);
        return;
    }
    error(out, ErrorCode::kBadFrame, "frame", fault.detail, fault.epoch, fault.sequence);
}

void StreamSession::tick(int64_t now, Bytes& out) {
    now = forward(now);
    while (const std::optional<Gap> gap = ordering_.overdue(now)) expire(*gap, now);
    nacks(now, out);
}

void StreamSession::resume_deadlines(int64_t now) { ordering_.resume_deadlines(forward(now)); }

const Stats& StreamSession::stats() {
    stats_.in_flight = ordering_.in_flight();
    return stats_;
}

void StreamSession::swap_at_boundary(std::string model, std::string kind) {
    swap_ = Swap{std::move(model), std::move(kind)};
}

// A clock that is set back stands still here until it has caught up.
int64_t StreamSession::forward(int64_t now) { return clock_ = std::max(clock_, now); }

void StreamSession::answer(Bytes& out, FrameType type, uint32_t epoch, uint64_t sequence,
                           const Bytes& payload) {
    append_frame(out, header(type, stream_, epoch, sequence), payload);
}

void StreamSession::error(Bytes& out, ErrorCode code, const char* scope, const std::string& message,
                          uint32_t epoch, uint64_t sequence, uint64_t count) {
    answer(out, FrameType::kError, epoch, sequence, error_payload(code, scope, message, count));
}

// The answer to rows that were not accepted: one ERROR for those with the same reason.
void StreamSession::refuse(const Frame& frame, const Judged& run, Bytes& out) {
    switch (run.result) {
        case Accepted::kAccepted: return;
        case Accepted::kDuplicate: stats_.duplicates += run.count; return;
        case Accepted::kConflict: stats_.conflicts += run.count; break;
        case Accepted::kLate: stats_.late += run.count; break;
        case Accepted::kOverload: stats_.overloads += run.count; break;
        default: break;
    }
    const Refusal refusal = refusal_of(run.result);
    error(out, refusal.code, "frame", refusal.message, frame.epoch, run.sequence, run.count);
}

void StreamSession::nacks(int64_t now, Bytes& out) {
    const std::vector<Gap> gaps = ordering_.nacks_due(now);
    stats_.nacks += gaps.size();
    if (!announced) return;
    for (const Gap& gap : gaps) {
        Bytes payload;
        append_number<uint64_t>(payload, gap.stop - gap.first);
        append_number<uint64_t>(payload, static_cast<uint64_t>(ordering_.deadline_left(now)));
        const Place first = shape_.place(gap.first);
        answer(out, FrameType::kNack, first.epoch, first.sequence, payload);
    }
}

void StreamSession::expire(const Gap& gap, int64_t now) {
    const Place first = shape_.place(gap.first), last = shape_.place(gap.stop - 1);
    if (ordering_.config().erase && last.epoch == first.epoch && last.sequence < shape_.rounds()) {
        ordering_.erase(gap, now);
        return;
    }
    const bool final = first.sequence == shape_.rounds();
    const std::string what = final ? "FINAL" : "round " + std::to_string(first.sequence);
    abandon({first.epoch, first.epoch + 1, what + " was lost", false});
}

void StreamSession::reset(const Frame& frame, Bytes& out) {
    const Place next = shape_.place(ordering_.expected());
    const bool begun = next.sequence > 0 || ordering_.has_gaps();
    const uint64_t first = uint64_t{next.epoch} + (begun ? 1 : 0);
    if (last_reset_ == frame.epoch && frame.epoch >= next.epoch) {
        if (announced) answer(out, FrameType::kReset, frame.epoch, 0, {});
        return;
    }
    if (frame.epoch < first || frame.epoch >= kLastEpoch) {
        error(out, ErrorCode::kStaleEpoch, "frame",
              "RESET to epoch " + std::to_string(frame.epoch) + "; the next one is " + std::to_string(first) +
                  ", the last " + std::to_string(kLastEpoch - 1),
              frame.epoch, 0);
        return;
    }
    last_reset_ = frame.epoch;
    abandon({next.epoch, frame.epoch, "RESET", true});
}

void StreamSession::abandon(const Skip& skip) {
    ordering_.abandon(skip);
    if (chunk_ && skip.epoch <= chunk_->epoch && chunk_->epoch < skip.next_epoch) chunk_.reset();
}

void StreamSession::credit(bool force, Bytes& out) {
    const uint64_t moved = ordering_.decoded() - told_, window = ordering_.config().window;
    if (!force && moved < (window + 3) / 4) return;
    told_ = ordering_.decoded();
    if (!announced) return;
    Bytes payload;
    append_number<uint32_t>(payload, static_cast<uint32_t>(window));
    append_number<uint32_t>(payload, static_cast<uint32_t>(ordering_.in_flight()));
    answer(out, FrameType::kCredit, place().epoch, place().sequence, payload);
}

}  // namespace qecpipe::service
