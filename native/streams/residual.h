// What committed moves leave of the syndrome and flip of the observables, at a cost that grows with the
// moves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qecpipe::streams {

// The moves of a problem: which detectors and observables each of them flips. Threads may share one.
class MoveTables {
  public:
    // first, second (columns,): the detectors of a move, -1 for none. Column k's observables are
    // observables[starts[k]] to observables[starts[k + 1] - 1].
    //
    // Throws std::invalid_argument where tables do not fit each other or name what there is not.
    MoveTables(std::span<const int32_t> first, std::span<const int32_t> second,
               std::span<const int32_t> starts, std::span<const int32_t> observables, int64_t num_detectors,
               int64_t num_observables);

    int64_t num_moves() const { return static_cast<int64_t>(first_.size()); }
    int64_t row_bytes() const { return (num_detectors_ + 7) / 8; }
    int64_t flips_bytes() const { return (num_observables_ + 7) / 8; }

    // moves: 0/1 (shots, columns). packed, residual: (shots, row_bytes()); flips: (shots, flips_bytes()), LSB
    // first.
    void apply(int64_t shots, const uint8_t* moves, const uint8_t* packed, uint8_t* residual,
               uint8_t* flips) const;

  private:
    std::vector<int32_t> first_, second_, starts_, observables_;
    int64_t num_detectors_, num_observables_;
};

}  // namespace qecpipe::streams
