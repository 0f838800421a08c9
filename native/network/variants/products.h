// Sums of products of many inputs: of a few cells and vectors of outputs at a time, which stay in registers.
//
// Inputs are read four bytes at a time and weights are in that order: `order`. Bytes multiplies four unsigned
// inputs of 8 bits by signed weights of 8 bits, Shorts two inputs of 16 bits by weights of 16 bits.
#pragma once

#include <cstdint>

#include "network/variants/buffer.h"
#include "network/variants/half_lanes.h"
#include "network/variants/lanes.h"
#include "network/variants/neighbours.h"

namespace qecpipe::network::QECPIPE_VARIANT {

constexpr int kOutputs = Lanes::kShorts / 2;  // of a vector

struct Shorts {
    using Input = int16_t;
    using Weight = int16_t;

    static Lanes::Vector add(Lanes::Vector sum, Lanes::Vector x, Lanes::Vector w) {
        sum = Lanes::pairs(sum, x, w);
#if defined(__x86_64__) && !defined(__AVX512VNNI__)
        keep_order(sum);
#endif
        return sum;
    }
};

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

struct Bytes {
    using Input = uint8_t;
    using Weight = int8_t;

    static Lanes::Vector add(Lanes::Vector sum, Lanes::Vector x, Lanes::Vector w) {
        return Lanes::dot(sum, x, w);
    }
};

#else

// Other instructions saturate sums of such products.
using Bytes = Shorts;

#endif

template <class Op>
constexpr int kInputs = 4 / sizeof(typename Op::Input);  // whose products are added at a time

// Weights [outputs][taps][channels] as [taps][padded / kInputs][vectors][kOutputs][kInputs], added ones 0.
template <class Op, class Weight>
inline void order(const Weight* table, int outputs, int taps, int channels, int padded, int vectors,
                  typename Op::Weight* to) {
    constexpr int kStep = kInputs<Op>;
    for (int o = 0; o < outputs; ++o)
        for (int tap = 0; tap < taps; ++tap)
            for (int c = 0; c < channels; ++c)
                to[((int64_t{tap} * (padded / kStep) + c / kStep) * vectors * kOutputs + o) * kStep +
                   c % kStep] = table[(int64_t{o} * taps + tap) * channels + c];
}

// Adds `steps` times kInputs inputs of the cells kFrom to kTo, `cell` inputs apart, each times its weights;
// the vectors of weights are `step` bytes apart from one time to the next.
template <class Op, int kFrom, int kTo, int kCells, int kVectors>
inline void add_products(Lanes::Vector (&sum)[kCells][kVectors], const typename Op::Input* inputs,
                         int64_t cell, int steps, const char* weights, int64_t step) {
    for (int k = 0; k < steps; ++k, inputs += kInputs<Op>, weights += step) {
        Lanes::Vector w[kVectors];
        for (int v = 0; v < kVectors; ++v) w[v] = Lanes::load(weights + v * sizeof(Lanes::Vector));
#pragma GCC unroll 8
        for (int n = kFrom; n < kTo; ++n) {
            const Lanes::Vector x = Lanes::broadcast(inputs + n * cell);
#pragma GCC unroll 3
            for (int v = 0; v < kVectors; ++v) sum[n][v] = Op::add(sum[n][v], x, w[v]);
        }
    }
}

// Weights of a convolution in order, from the first output that counts.
struct Kernel {
    const char* weights;
    int steps;          // of the inputs of a tap that count
    int64_t step, tap;  // bytes from one step, or tap, to the next
};

// Adds a 3 x 3 x 3 convolution's products, of kCells columns from `first` on.
template <class Op, int kCells, int kVectors>
inline void add_convolution(Lanes::Vector (&sum)[kCells][kVectors], const Rows<typename Op::Input>& near,
                            int first, int64_t cell, Kernel kernel) {
    const bool left = first > 0, right = first + kCells < near.columns;
    for (int row = 0; row < 9; ++row, kernel.weights += 3 * kernel.tap) {
        if (!near.start[row]) continue;
        const auto* const x = near.start[row] + first * cell;
        const char* const w = kernel.weights;
        if (left) add_products<Op, 0, kCells>(sum, x - cell, cell, kernel.steps, w, kernel.step);
        else add_products<Op, 1, kCells>(sum, x - cell, cell, kernel.steps, w, kernel.step);
        add_products<Op, 0, kCells>(sum, x, cell, kernel.steps, w + kernel.tap, kernel.step);
        if (right)
            add_products<Op, 0, kCells>(sum, x + cell, cell, kernel.steps, w + 2 * kernel.tap, kernel.step);
        else
            add_products<Op, 0, kCells - 1>(sum, x + cell, cell, kernel.steps, w + 2 * kernel.tap,
                                            kernel.step);
    }
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
