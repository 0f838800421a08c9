// Tables in the order in which vectors read them; channels that are added to make vectors whole are 0.
#pragma once

#include <algorithm>
#include <cstdint>

#include "network/tables.h"
#include "network/variants/buffer.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// [rows][channels] as [rows][padded].
template <class Number>
Buffer<Number> in_rows(const Number* table, int64_t rows, int channels, int padded) {
    Buffer<Number> to(rows * padded);
    for (int64_t row = 0; row < rows; ++row) std::copy_n(table + row * channels, channels, to + row * padded);
    return to;
}

// [4][27][C] as [4][9][3][padded], the last three taps backwards: what a detection adds to three neighbours
// in a row.
template <class Number>
Buffer<Number> in_neighbours(const Number* table, int channels, int padded) {
    Buffer<Number> to(int64_t{kDetectors} * kTaps * padded);
    for (int row = 0; row < kDetectors * kTaps / 3; ++row)
        for (int tap = 0; tap < 3; ++tap)
            std::copy_n(table + (3 * row + tap) * channels, channels,
                        to + int64_t{3 * row + 2 - tap} * padded);
    return to;
}

// [blocks][C][27] as [blocks][padded / lanes][27][lanes].
template <class Number>
Buffer<Number> in_taps(const Number* table, int blocks, int channels, int padded, int lanes) {
    Buffer<Number> to(int64_t{blocks} * padded * kTaps);
    for (int64_t block = 0; block < blocks; ++block)
        for (int c = 0; c < channels; ++c)
            for (int tap = 0; tap < kTaps; ++tap)
                to[(block * padded + c - c % lanes) * kTaps + tap * lanes + c % lanes] =
                    table[(block * channels + c) * kTaps + tap];
    return to;
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
