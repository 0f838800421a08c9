// A depthwise 3 x 3 x 3 convolution of the channels of a vector.
//
// L: vectors with `load` and `accumulate`; kLanes numbers each. taps: [27] vectors.
#pragma once

#include <algorithm>
#include <cstdint>

#include "network/variants/neighbours.h"
#include "network/variants/tiles.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// A layer and its neighbours in time, [I][J][channels]; those outside the volume are null: a convolution sees
// zeros there.
template <class Number>
struct Layers {
    const Number* start[3];
    Patch patch;
    int64_t channels;

    // A row of one of the layers, at a channel; null outside.
    const Number* row(int layer, int i, int channel) const {
        const bool outside = !start[layer] || i < 0 || i >= patch.rows;
        return outside ? nullptr : start[layer] + int64_t{i} * patch.columns * channels + channel;
    }
};

// Adds the products of a row's values with weights[0 to 2], of the columns before, here and after, to the
// sums of the same columns: whole rows of few columns.
template <int kColumns, class L, int kLanes, class Number>
inline void add_row(typename L::Vector* sum, const typename L::Vector (&value)[kColumns],
                    const Number* weights) {
    unrolled<3>([&](auto tap) {
        constexpr int kShift = 1 - tap, kFirst = std::max(0, -kShift),
                      kCount = kColumns - (kShift != 0);  // values with a sum at this distance
        const auto weight = L::load(weights + tap * kLanes);
        // Three products at a time.
        unrolled<(kCount + 2) / 3>([&](auto part) {
            constexpr int j = kFirst + 3 * part, left = kCount - 3 * part;
            if constexpr (left == 1) {
                L::accumulate(weight, value[j], sum[j + kShift]);
            } else if constexpr (left == 2) {
                L::accumulate(weight, value[j], sum[j + kShift], value[j + 1], sum[j + 1 + kShift]);
            } else {
                L::accumulate(weight, value[j], sum[j + kShift], value[j + 1], sum[j + 1 + kShift],
                              value[j + 2], sum[j + 2 + kShift]);
            }
        });
    });
}

// Adds the taps' products to sums [kRows][kColumns] of whole rows from `first` on.
template <int kRows, int kColumns, class L, int kLanes, class Number>
inline void add_stencil_of_rows(typename L::Vector (&sum)[kRows * kColumns], const Layers<Number>& near,
                                int first, int channel, const Number* taps) {
    for (int layer = 0; layer < 3; ++layer, taps += 9 * kLanes) {
        if (!near.start[layer]) continue;
        unrolled<kRows + 2>([&](auto from) {
            const Number* const x = near.row(layer, first + from - 1, channel);
            if (!x) return;
            typename L::Vector value[kColumns];
            unrolled<kColumns>([&](auto j) { value[j] = L::load(x + j * near.channels); });
            unrolled<3>([&](auto tap) {
                constexpr int row = from - tap;
                if constexpr (row >= 0 && row < kRows)
                    add_row<kColumns, L, kLanes>(sum + row * kColumns, value, taps + 3 * tap * kLanes);
            });
        });
    }
}

// Adds the taps' products to `sum`, of kColumns columns of a row from `first` on; `around`: its nine rows.
template <int kColumns, class L, int kLanes, class Number>
inline void add_stencil_of_columns(typename L::Vector (&sum)[kColumns], const Layers<Number>& near,
                                   const Rows<Number>& around, int first, int channel, const Number* taps) {
    const bool left = first > 0, right = first + kColumns < near.patch.columns;
    const int64_t at = first * near.channels + channel;
    for (int row = 0; row < 9; ++row, taps += 3 * kLanes) {
        if (!around.start[row]) continue;
        const Number* const x = around.start[row] + at;
        const auto before = L::load(taps), here = L::load(taps + kLanes), after = L::load(taps + 2 * kLanes);
        if (left) L::accumulate(L::load(x - near.channels), before, sum[0]);
        unrolled<kColumns>([&](auto j) {
            const auto value = L::load(x + j * near.channels);
            if constexpr (kColumns == 1) {
                L::accumulate(value, here, sum[j]);
            } else if constexpr (j == 0) {
                L::accumulate(value, before, sum[j + 1], here, sum[j]);
            } else if constexpr (j + 1 == kColumns) {
                L::accumulate(value, here, sum[j], after, sum[j - 1]);
            } else {
                L::accumulate(value, before, sum[j + 1], here, sum[j], after, sum[j - 1]);
            }
        });
        if (right) L::accumulate(L::load(x + kColumns * near.channels), after, sum[kColumns - 1]);
    }
}

// The convolution of a layer, tile by tile and kLanes channels at a time: begin(channel, cell) is what a sum
// starts from, and end(channel, cell, sum) takes it. taps: [channels / kLanes][27][kLanes].
template <class L, int kLanes, class Number, class Begin, class End>
inline void convolve(const Layers<Number> near, const Number* taps, Begin begin, End end) {
    using Vector = typename L::Vector;
    // Sums, with a row's values or three weights and a value, and three products, fit the registers.
    constexpr int kMostSums = L::kRegisters == 32 ? 16 : 9, kWholeRows = kMostSums / 2, kWidest = 9;
    const int rows = near.patch.rows, columns = near.patch.columns,
              channels = static_cast<int>(near.channels);
    if (columns <= kWholeRows) {
        for_each_tile<kWholeRows>(columns, [&](int, auto width) {
            constexpr int kColumns = decltype(width)::value;
            for_each_tile<std::min(3, kMostSums / kColumns)>(rows, [&](int i, auto height) {
                constexpr int kRows = decltype(height)::value;
                for (int c = 0; c < channels; c += kLanes) {
                    Vector sum[kRows * kColumns];
                    unrolled<kRows * kColumns>([&](auto k) { sum[k] = begin(c, i * kColumns + k); });
                    add_stencil_of_rows<kRows, kColumns, L, kLanes>(sum, near, i, c, taps + c * kTaps);
                    unrolled<kRows * kColumns>([&](auto k) { end(c, i * kColumns + k, sum[k]); });
                }
            });
        });
        return;
    }
    for (int i = 0; i < rows; ++i) {
        const Rows<Number> around = rows_around(near.start, near.patch, columns * near.channels, i);
        for (int c = 0; c < channels; c += kLanes)
            for_each_tile<kWidest>(columns, [&](int first, auto width) {
                constexpr int kColumns = decltype(width)::value;
                const int cell = i * columns + first;
                Vector sum[kColumns];
                unrolled<kColumns>([&](auto j) { sum[j] = begin(c, cell + j); });
                add_stencil_of_columns<kColumns, L, kLanes>(sum, near, around, first, c, taps + c * kTaps);
                unrolled<kColumns>([&](auto j) { end(c, cell + j, sum[j]); });
            });
    }
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
