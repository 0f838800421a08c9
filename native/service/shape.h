// What one shot of a stream looks like on the wire, and the order of its rows; as `StreamShape` in Python.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace qecpipe::service {

inline size_t packed_bytes(uint64_t bits) { return static_cast<size_t>((bits + 7) / 8); }

// Rounds of the same width.
struct Run {
    uint64_t rounds;
    uint32_t bits;
};

// A place in a stream: row `sequence` of shot `epoch`.
struct Place {
    uint32_t epoch;
    uint64_t sequence;
};

// Rounds of a shot and their widths. All rows of a stream stand in one line: row `sequence` of shot `epoch`
// has the ordinal `epoch * (rounds + 1) + sequence`; the final row of a shot has the sequence `rounds`.
class Shape {
  public:
    // layers: runs of rounds, in order.
    // commit: rounds between window boundaries.
    //
    // Throws std::invalid_argument for no rounds, or more than 2^32.
    Shape(std::vector<Run> layers, uint32_t final_bits, uint32_t num_observables, uint64_t commit);

    uint64_t rounds() const { return rounds_; }
    uint64_t commit() const { return commit_; }
    uint32_t num_observables() const { return num_observables_; }
    size_t observable_bytes() const { return packed_bytes(num_observables_); }

    // Bytes of the widest row.
    size_t most_bytes() const { return most_bytes_; }

    // Bits of the row with this sequence, at most `rounds`.
    uint32_t bits(uint64_t sequence) const;

    // Bytes of so many packed rows from this one on, of one shot.
    uint64_t size(uint64_t sequence, uint64_t count) const {
        return offset(sequence + count) - offset(sequence);
    }

    // Fewest rows that a payload of so many bytes has room for, at least 1; `masked`: with erasure bits after
    // them.
    uint64_t rows_in(uint64_t sequence, uint64_t length, bool masked) const;

    uint64_t ordinal(uint32_t epoch, uint64_t sequence) const { return epoch * (rounds_ + 1) + sequence; }
    Place place(uint64_t ordinal) const {
        return {static_cast<uint32_t>(ordinal / (rounds_ + 1)), ordinal % (rounds_ + 1)};
    }

  private:
    uint64_t offset(uint64_t sequence) const;
    size_t run_of(uint64_t sequence) const;

    const std::vector<Run> layers_;
    std::vector<uint64_t> ends_,
        bytes_before_;  // of each run: its last round + 1; bytes of the rounds before it
    const uint32_t final_bits_, num_observables_;
    const uint64_t commit_;
    uint64_t rounds_ = 0;
    size_t most_bytes_;
};

}  // namespace qecpipe::service
