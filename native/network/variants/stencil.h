// The sums of a depthwise 3 x 3 x 3 convolution, of some columns of a row and the channels of a vector.
#pragma once

#include <cstdint>

#include "network/variants/neighbours.h"

namespace qecpipe::network::QECPIPE_VARIANT {

constexpr int kWidestStencil = 9;  // columns: their sums, three weights and a value fit sixteen registers

// Adds the taps' products to `sum`, of kColumns columns from `first` on.
//
// L: vectors with `load` and `accumulate(sum, weights, numbers)`. at: the first column's place in every row,
// at the vector's first channel. taps: [27] vectors of kLanes numbers.
template <int kColumns, class L, int kLanes, class Number>
inline void add_stencil(typename L::Vector (&sum)[kColumns], const Rows<Number>& near, int64_t at, int first,
                        int channels, const Number* taps) {
    const bool left = first > 0, right = first + kColumns < near.columns;
    for (int row = 0; row < 9; ++row, taps += 3 * kLanes) {
        if (!near.start[row]) continue;
        const Number* const x = near.start[row] + at;
        const auto before = L::load(taps), here = L::load(taps + kLanes), after = L::load(taps + 2 * kLanes);
        if (left) sum[0] = L::accumulate(sum[0], before, L::load(x - channels));
#pragma GCC unroll 16
        for (int j = 0; j < kColumns; ++j) {
            const auto value = L::load(x + int64_t{j} * channels);
            if (j + 1 < kColumns) sum[j + 1] = L::accumulate(sum[j + 1], before, value);
            sum[j] = L::accumulate(sum[j], here, value);
            if (j > 0) sum[j - 1] = L::accumulate(sum[j - 1], after, value);
        }
        if (right)
            sum[kColumns - 1] =
                L::accumulate(sum[kColumns - 1], after, L::load(x + int64_t{kColumns} * channels));
    }
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
