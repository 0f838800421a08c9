// Rows of data frames into order: duplicates, gaps, deadlines, the credit window. As `Ordering` in Python.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "service/frames.h"
#include "service/shape.h"

namespace qecpipe::service {

constexpr uint64_t kHistoryWindows =
    4;  // windows of accepted rows that are kept to tell a duplicate from a conflict
constexpr int64_t kNacksPerDeadline = 4;

enum class Accepted { kAccepted, kDuplicate, kConflict, kStale, kLate, kOverload, kBadPayload, kBadSequence };

// A run of rows of one frame with the same result.
struct Judged {
    Accepted result;
    uint64_t sequence;
    uint64_t count;
};

// Ordinals [first, stop) that are missing.
struct Gap {
    uint64_t first, stop;
};

// Shots `epoch` up to, not including, `next_epoch` are abandoned; `asked`: by RESET, so that no RESULT is
// due.
struct Skip {
    uint32_t epoch, next_epoch;
    std::string reason;
    bool asked;
};

struct OrderingConfig {
    uint64_t window = 4096;           // rows in flight
    int64_t gap_deadline = 50000000;  // ns from the discovery of a gap to its erasure
    bool erase = true;                // lost rounds are decoded as erased; else their shot is abandoned
};

// The ordering half of a stream. Times are ns of one monotonic clock, given by the caller. Memory is that of
// 5 windows of rows, taken at the beginning.
class Ordering {
  public:
    Ordering(const Shape& shape, const OrderingConfig& config, uint64_t start);

    // Judges the rows of a ROUNDS or FINAL frame, and takes in those that are new and in the window.
    void accept(const Frame& frame, int64_t now, std::vector<Judged>& judged);

    // Notes that these rows were sent and arrived damaged.
    void damaged(const Fault& fault, int64_t now);

    // Runs of rows that are missing before one that is known to have been sent.
    std::vector<Gap> gaps() const;
    bool has_gaps() const { return held_ > 0 || lost_ > expected_; }

    // The gaps to ask for now.
    std::vector<Gap> nacks_due(int64_t now);
    int64_t deadline_left(int64_t now) const;
    std::optional<int64_t> next_deadline() const;

    // The first gap, once its deadline has passed.
    std::optional<Gap> overdue(int64_t now) const;

    // Puts erased rounds in the place of the first gap, which holds no final row.
    void erase(const Gap& gap, int64_t now);

    // Starts the deadlines of gaps again: until now the peer could not be heard.
    void resume_deadlines(int64_t now);

    // Drops what is in flight of these shots; `skip` comes next in their place.
    void abandon(const Skip& skip);

    // What is to be done next: a skip, or rows [decoded, decoded + ready_rows) that are in order.
    const Skip* next_skip() const {
        return !ready_.empty() && ready_.front().skip ? &*ready_.front().skip : nullptr;
    }
    uint64_t ready_rows() const { return ready_.empty() || ready_.front().skip ? 0 : ready_.front().rows; }
    bool has_ready() const { return !ready_.empty(); }

    // Rows before `decoded` that are kept, at most `most`: the first of them.
    uint64_t first_recent(uint64_t most) const;

    // Of a row in the window or the history.
    const uint8_t* row(uint64_t ordinal) const { return rows_.data() + at(ordinal) * stride_; }
    uint16_t row_flags(uint64_t ordinal) const { return slots_[at(ordinal)].flags; }
    int64_t arrived(uint64_t ordinal) const { return slots_[at(ordinal)].arrived; }

    // So many rows are decoded; the skip is dealt with: the window moves on.
    void done_rows(uint64_t count);
    void done_skip();

    // Ordinals of the first row not decoded, and not arrived in order.
    uint64_t decoded() const { return decoded_; }
    uint64_t expected() const { return expected_; }

    // Rows held or ready, and skips, not dealt with.
    uint64_t in_flight() const;

    bool conflicts(uint32_t epoch) const { return !conflicts_.empty() && conflicts_.count(epoch) > 0; }
    bool any_conflicts() const { return !conflicts_.empty(); }
    void add_conflict(uint32_t epoch) { conflicts_.insert(epoch); }

    const OrderingConfig& config() const { return config_; }

  private:
    // A row that is held, or that was accepted and is kept to compare others with.
    struct Slot {
        uint64_t ordinal = UINT64_MAX;
        int64_t arrived = 0;
        uint16_t flags = 0;
    };
    struct Ready {
        uint64_t rows;
        std::optional<Skip> skip;
    };

    size_t at(uint64_t ordinal) const { return static_cast<size_t>(ordinal & mask_); }
    bool holds(uint64_t ordinal) const { return slots_[at(ordinal)].ordinal == ordinal; }
    bool in_window(uint64_t ordinal) const { return ordinal - decoded_ < config_.window; }
    Accepted split(const Frame& frame, uint64_t* count, const uint8_t** mask) const;
    Accepted accept_row(const Frame& frame, uint64_t sequence, const uint8_t* row, bool erased, int64_t now);
    Accepted compare(const Frame& frame, uint64_t ordinal, const uint8_t* row, size_t size, bool erased);
    void put(uint64_t ordinal, const uint8_t* row, size_t size, uint16_t flags, int64_t now);
    void advance();
    void watch(bool progressed);
    void abandon_ready(const Skip& skip, uint64_t start, uint64_t stop);
    void forget(uint64_t start, uint64_t stop);

    const Shape& shape_;
    const OrderingConfig config_;
    uint64_t decoded_, expected_;
    uint64_t mask_;
    size_t stride_;
    std::vector<Slot> slots_;
    Bytes rows_;
    std::deque<Ready> ready_;
    std::set<uint32_t> conflicts_;          // epochs with one, until their shot is over
    uint64_t held_ = 0, highest_held_ = 0;  // past `expected_`: how many, and the last of them
    std::optional<int64_t> gap_since_;
    int64_t next_nack_ = 0;
    uint64_t lost_;  // ordinals below this are known to have been sent, because a damaged one arrived
    int64_t lost_since_ = 0, deadlines_from_ = 0;
};

}  // namespace qecpipe::service
