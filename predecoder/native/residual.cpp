// What committed moves leave of the syndrome and flip of the observables, at a cost that grows with the moves.
#include <cstdint>
#include <cstring>

#include "bits.h"

// moves: 0/1 (shots, columns). packed, residual: (shots, ceil(detectors / 8)); flips: (shots, ceil(observables
// / 8)), LSB first. first, second (columns,): the detectors of a move, -1 for none. Column k's observables
// are observables[starts[k]] to observables[starts[k + 1] - 1].
extern "C" void qecpipe_apply_moves(int64_t columns, int64_t detectors, int64_t num_observables,
                                    const int32_t* first, const int32_t* second, const int32_t* starts,
                                    const int32_t* observables, int64_t shots, const uint8_t* moves,
                                    const uint8_t* packed, uint8_t* residual, uint8_t* flips) {
    const int64_t width = (detectors + 7) / 8, flips_width = (num_observables + 7) / 8;
    std::memcpy(residual, packed, shots * width);
    std::memset(flips, 0, shots * flips_width);
    const auto flip = [](uint8_t* row, int32_t bit) { row[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8)); };
    for (int64_t s = 0; s < shots; s++) {
        uint8_t* left = residual + s * width;
        uint8_t* flipped = flips + s * flips_width;
        bits::for_each_set(moves + s * columns, columns, [&](int64_t k) {
            if (first[k] < 0) return;
            flip(left, first[k]);
            if (second[k] >= 0) flip(left, second[k]);
            for (int32_t o = starts[k]; o < starts[k + 1]; o++) flip(flipped, observables[o]);
        });
    }
}
