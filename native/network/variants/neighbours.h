// Rows of cells around a row: what a 3 x 3 x 3 convolution sees of it.
#pragma once

#include <cstdint>

#include "network/tables.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// The nine rows around a row and layer; those outside the volume are null: a convolution sees zeros there.
template <class Number>
struct Rows {
    const Number* start[9];
    int columns;
};

// Those around row i of three layers, [I][row_size] Numbers each or null.
template <class Number>
inline Rows<Number> rows_around(const Number* const (&layers)[3], const Patch& patch, int64_t row_size,
                                int i) {
    Rows<Number> near{{}, patch.columns};
    for (int k = 0; k < 9; ++k) {
        const int from = i + k % 3 - 1;
        near.start[k] =
            layers[k / 3] && from >= 0 && from < patch.rows ? layers[k / 3] + from * row_size : nullptr;
    }
    return near;
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
