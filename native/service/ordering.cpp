#include "service/ordering.h"

#include <bit>
#include <cstring>
#include <limits>

namespace qecpipe::service {

Ordering::Ordering(const Shape& shape, const OrderingConfig& config, uint64_t start)
    : shape_(shape), config_(config), decoded_(start), expected_(start), stride_(shape.most_bytes()),
      lost_(start) {
    const uint64_t slots = std::bit_ceil((kHistoryWindows + 1) * config.window);
    mask_ = slots - 1;
    slots_.resize(slots);
    rows_.resize(slots * stride_);
}

void Ordering::accept(const Frame& frame, int64_t now, std::vector<Judged>& judged) {
    judged.clear();
    uint64_t count = 0;
    const uint8_t* mask = nullptr;
    const Accepted whole = split(frame, &count, &mask);
    if (whole != Accepted::kAccepted) {
        judged.push_back({whole, frame.sequence, 1});
        return;
    }
    bool any = false;
    const uint8_t* row = frame.payload + kCountBytes;
    for (uint64_t k = 0; k < count; k++) {
        const uint64_t sequence = frame.sequence + k;
        const bool erased = mask != nullptr && (mask[k / 8] >> k % 8 & 1);
        const Accepted result = accept_row(frame, sequence, row, erased, now);
        row += packed_bytes(shape_.bits(sequence));
        any |= result == Accepted::kAccepted;
        if (!judged.empty() && judged.back().result == result) {
            judged.back().count++;
        } else {
            judged.push_back({result, sequence, 1});
        }
    }
    if (any) advance();
}

// The number of a frame's rows and their erasure bits, if it fits the stream as a whole.
Accepted Ordering::split(const Frame& frame, uint64_t* count, const uint8_t** mask) const {
    if (frame.length < kCountBytes) return Accepted::kBadPayload;
    const uint64_t rows = frame.payload[0] | frame.payload[1] << 8;
    if (rows == 0) return Accepted::kBadPayload;
    const bool final = frame.is(FrameType::kFinal);
    const uint64_t most = shape_.rounds() + (final ? 1 : 0);
    if (frame.sequence > shape_.rounds() || rows > most - std::min(most, frame.sequence) ||
        (final && frame.sequence + rows != most) || frame.epoch >= kLastEpoch) {
        return Accepted::kBadSequence;
    }
    const bool masked = frame.flags & kErased;
    const uint64_t mask_at = kCountBytes + shape_.size(frame.sequence, rows);
    const size_t mask_bytes = masked ? packed_bytes(rows) : 0;
    if (frame.length != mask_at + mask_bytes || frame.flags & ~(kErased | kResent))
        return Accepted::kBadPayload;
    if (masked) {
        const uint8_t last = frame.payload[frame.length - 1];
        if (rows % 8 != 0 && last >> rows % 8 != 0) return Accepted::kBadPayload;
        if (final && (last >> (rows - 1) % 8 & 1)) return Accepted::kBadPayload;
        *mask = frame.payload + mask_at;
    }
    const uint8_t* row = frame.payload + kCountBytes;
    for (uint64_t sequence = frame.sequence; sequence < frame.sequence + rows; sequence++) {
        const uint32_t bits = shape_.bits(sequence);
        row += packed_bytes(bits);
        if (bits % 8 != 0 && row[-1] >> bits % 8 != 0) return Accepted::kBadPayload;
    }
    *count = rows;
    return Accepted::kAccepted;
}

Accepted Ordering::accept_row(const Frame& frame, uint64_t sequence, const uint8_t* row, bool erased,
                              int64_t now) {
    const uint64_t ordinal = shape_.ordinal(frame.epoch, sequence);
    const size_t size = packed_bytes(shape_.bits(sequence));
    if (ordinal < expected_) {
        const bool kept = ordinal >= decoded_ || decoded_ - ordinal < kHistoryWindows * config_.window;
        if (!kept || !holds(ordinal)) return Accepted::kStale;
        if (row_flags(ordinal) & kSynthetic) return Accepted::kLate;
        return compare(frame, ordinal, row, size, erased);
    }
    if (!in_window(ordinal)) return Accepted::kOverload;
    if (holds(ordinal)) return compare(frame, ordinal, row, size, erased);
    put(ordinal, erased ? nullptr : row, size, erased ? kErased : 0, now);
    return Accepted::kAccepted;
}

Accepted Ordering::compare(const Frame& frame, uint64_t ordinal, const uint8_t* given, size_t size,
                           bool erased) {
    const bool was_erased = row_flags(ordinal) & kErased;
    if (was_erased == erased && (erased || std::memcmp(row(ordinal), given, size) == 0))
        return Accepted::kDuplicate;
    if (shape_.ordinal(frame.epoch, shape_.rounds()) >= decoded_) conflicts_.insert(frame.epoch);
    return Accepted::kConflict;
}

// Holds a row; without one, zeros.
void Ordering::put(uint64_t ordinal, const uint8_t* row, size_t size, uint16_t flags, int64_t now) {
    slots_[at(ordinal)] = {ordinal, now, flags};
    uint8_t* place = rows_.data() + at(ordinal) * stride_;
    if (row == nullptr) {
        std::memset(place, 0, size);
    } else if (size > 0) {
        std::memcpy(place, row, size);
    }
    highest_held_ = held_ == 0 ? ordinal : std::max(highest_held_, ordinal);
    held_++;
}

void Ordering::damaged(const Fault& fault, int64_t now) {
    if (fault.sequence > shape_.rounds() || fault.epoch >= kLastEpoch) return;
    const uint64_t first = shape_.ordinal(fault.epoch, fault.sequence);
    if (first < decoded_ ? false : !in_window(first)) return;
    const uint64_t count = shape_.rows_in(fault.sequence, fault.length, fault.flags & kErased);
    uint64_t stop = first + count;
    if (stop > decoded_ && stop - decoded_ > config_.window) stop = decoded_ + config_.window;
    if (stop <= std::max(expected_, lost_)) return;
    if (lost_ <= expected_) lost_since_ = now;
    lost_ = stop;
    watch(false);
}

std::vector<Gap> Ordering::gaps() const {
    std::vector<Gap> found;
    uint64_t at = expected_;
    const auto past = [&](uint64_t ordinal) {
        if (ordinal > at) found.push_back({at, ordinal});
        at = std::max(at, ordinal + 1);
    };
    uint64_t left = held_;
    for (uint64_t ordinal = expected_; left > 0 && ordinal <= highest_held_; ordinal++) {
        if (holds(ordinal)) past(ordinal), left--;
    }
    if (has_gaps()) past(lost_);
    return found;
}

std::vector<Gap> Ordering::nacks_due(int64_t now) {
    if (!gap_since_ || now < next_nack_) return {};
    next_nack_ = now + std::max<int64_t>(1, config_.gap_deadline / kNacksPerDeadline);
    return gaps();
}

int64_t Ordering::deadline_left(int64_t now) const {
    return std::max<int64_t>(0, gap_since_.value_or(now) + config_.gap_deadline - now);
}

std::optional<int64_t> Ordering::next_deadline() const {
    if (!gap_since_) return std::nullopt;
    return std::min(next_nack_, *gap_since_ + config_.gap_deadline);
}

std::optional<Gap> Ordering::overdue(int64_t now) const {
    if (!gap_since_ || now < *gap_since_ + config_.gap_deadline) return std::nullopt;
    const std::vector<Gap> found = gaps();
    return found.empty() ? std::nullopt : std::optional<Gap>(found.front());
}

void Ordering::erase(const Gap& gap, int64_t now) {
    for (uint64_t ordinal = gap.first; ordinal < gap.stop; ordinal++) {
        const size_t size = packed_bytes(shape_.bits(shape_.place(ordinal).sequence));
        put(ordinal, nullptr, size, kErased | kDegraded | kSynthetic, now);
    }
    advance();
}

void Ordering::resume_deadlines(int64_t now) {
    deadlines_from_ = now;
    if (gap_since_) gap_since_ = next_nack_ = now;
}

void Ordering::abandon(const Skip& skip) {
    const uint64_t start = shape_.ordinal(skip.epoch, 0), stop = shape_.ordinal(skip.next_epoch, 0);
    if (expected_ <= start &&
        (ready_.empty() || !ready_.back().skip || ready_.back().skip->epoch < skip.epoch)) {
        ready_.push_back({0, skip});  // what is ready comes before: many RESETs cost no more than one each
    } else {
        abandon_ready(skip, start, stop);
    }
    forget(start, stop);
    conflicts_.erase(conflicts_.lower_bound(skip.epoch), conflicts_.lower_bound(skip.next_epoch));
    if (expected_ < stop) {
        expected_ = stop;
        watch(true);
        advance();
    }
}

// Drops what is ready of shots in [start, stop), in whose place there is `skip`.
void Ordering::abandon_ready(const Skip& skip, uint64_t start, uint64_t stop) {
    std::deque<Ready> before, after;
    uint64_t cursor = decoded_;
    for (Ready& item : ready_) {
        if (item.skip) {
            cursor = std::max(cursor, shape_.ordinal(item.skip->next_epoch, 0));
            if (item.skip->epoch < skip.epoch) before.push_back(item);
            if (item.skip->epoch >= skip.next_epoch) after.push_back(item);
            continue;
        }
        const uint64_t end = cursor + item.rows;
        if (cursor < start) before.push_back({std::min(end, start) - cursor, std::nullopt});
        if (end > stop) after.push_back({end - std::max(cursor, stop), std::nullopt});
        cursor = end;
    }
    before.push_back({0, skip});
    before.insert(before.end(), after.begin(), after.end());
    ready_ = std::move(before);
}

// Drops rows [start, stop), held or kept to compare.
void Ordering::forget(uint64_t start, uint64_t stop) {
    const uint64_t history = kHistoryWindows * config_.window;
    const uint64_t first = std::max(start, decoded_ > history ? decoded_ - history : 0);
    const uint64_t last = std::min(stop, decoded_ + config_.window);
    for (uint64_t ordinal = first; ordinal < last; ordinal++) {
        if (!holds(ordinal)) continue;
        if (ordinal >= expected_) held_--;
        slots_[at(ordinal)].ordinal = std::numeric_limits<uint64_t>::max();
    }
}

uint64_t Ordering::first_recent(uint64_t most) const {
    const uint64_t kept = std::min({most, decoded_, kHistoryWindows * config_.window - 1});
    uint64_t first = decoded_;
    while (decoded_ - first < kept && holds(first - 1)) first--;
    return first;
}

void Ordering::done_rows(uint64_t count) {
    ready_.front().rows -= count;
    if (ready_.front().rows == 0) ready_.pop_front();
    decoded_ += count;
    const Place last = shape_.place(decoded_ - 1);
    if (last.sequence == shape_.rounds()) conflicts_.erase(last.epoch);
}

void Ordering::done_skip() {
    decoded_ = std::max(decoded_, shape_.ordinal(ready_.front().skip->next_epoch, 0));
    ready_.pop_front();
}

uint64_t Ordering::in_flight() const {
    uint64_t ready = 0;
    for (const Ready& item : ready_) ready += item.skip ? 1 : item.rows;
    return ready + held_;
}

// Moves held rows that are in order now to what is ready.
void Ordering::advance() {
    const uint64_t before = expected_;
    while (held_ > 0 && holds(expected_)) held_--, expected_++;
    if (expected_ != before) {
        if (ready_.empty() || ready_.back().skip) ready_.push_back({0, std::nullopt});
        ready_.back().rows += expected_ - before;
    }
    watch(expected_ != before);
}

// Starts and stops the clock of the first gap: it is as old as the first row past it.
void Ordering::watch(bool progressed) {
    if (progressed) gap_since_.reset();
    if (gap_since_ || !has_gaps()) return;
    int64_t since = lost_ > expected_ ? lost_since_ : std::numeric_limits<int64_t>::max();
    uint64_t left = held_;
    for (uint64_t ordinal = expected_; left > 0 && ordinal <= highest_held_; ordinal++) {
        if (holds(ordinal)) since = std::min(since, arrived(ordinal)), left--;
    }
    gap_since_ = next_nack_ = std::max(since, deadlines_from_);
}

}  // namespace qecpipe::service
