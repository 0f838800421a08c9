// The separable network in integers, sixteen shots side by side.
//
// The stream of activations has 16 bits; hidden activations, never negative, have 7, two channels to a plane;
// weights have 16 bits in the stencils and 8 in the pointwise convolution. Sums wrap nowhere: whoever makes the
// tables (quantized_tables.py) scales them so that a stencil's absolute weights, and the weights of either
// sign of kChunk inputs, cannot leave 16 bits whatever the activations; all other sums saturate.
#include "network/variants/batch.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace qecpipe::network::batch::QECPIPE_VARIANT {

namespace {

constexpr int kOutputs = 4;  // side by side in the table of a pointwise convolution's weights
constexpr int kChunk = 32;   // CHUNK of quantized_tables.py: inputs whose products are added up without saturation
constexpr int kHidden = 127;

typedef int16_t Lanes __attribute__((vector_size(32), aligned(32)));
typedef int32_t Wide __attribute__((vector_size(32), aligned(32)));
typedef float Reals __attribute__((vector_size(32), aligned(32)));

inline Lanes broadcast(int16_t x) { return Lanes{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline Lanes broadcast_pair(int32_t x) { return reinterpret_cast<Lanes>(Wide{x, x, x, x, x, x, x, x}); }
inline Lanes at_least(Lanes x, Lanes least) { return x > least ? x : least; }
inline Lanes at_most(Lanes x, Lanes most) { return x < most ? x : most; }

#ifdef __AVX2__

// (a b + 2^14) / 2^15, rounded down.
inline Lanes scaled(Lanes a, Lanes b) {
    return reinterpret_cast<Lanes>(_mm256_mulhrs_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
inline Lanes add_saturated(Lanes a, Lanes b) {
    return reinterpret_cast<Lanes>(_mm256_adds_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
// Two channels of `hidden`, a byte from 0 to 127 each, times two weights of 8 bits.
inline Lanes product_of_bytes(Lanes hidden, Lanes weights) {
    return reinterpret_cast<Lanes>(
        _mm256_maddubs_epi16(reinterpret_cast<__m256i>(hidden), reinterpret_cast<__m256i>(weights)));
}
// a[0] b[0] + a[1] b[1], and so on.
inline Wide sum_of_pairs(Lanes a, Lanes b) {
    return reinterpret_cast<Wide>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

#else

inline int16_t saturated(int32_t x) { return static_cast<int16_t>(std::clamp<int32_t>(x, INT16_MIN, INT16_MAX)); }
inline Lanes scaled(Lanes a, Lanes b) {
    for (int k = 0; k < 16; ++k) a[k] = static_cast<int16_t>((int32_t{a[k]} * b[k] + (1 << 14)) >> 15);
    return a;
}
inline Lanes add_saturated(Lanes a, Lanes b) {
    for (int k = 0; k < 16; ++k) a[k] = saturated(int32_t{a[k]} + b[k]);
    return a;
}
inline Lanes product_of_bytes(Lanes hidden, Lanes weights) {
    for (int k = 0; k < 16; ++k)
        hidden[k] = saturated((hidden[k] & 255) * static_cast<int8_t>(weights[k]) + (hidden[k] >> 8) * (weights[k] >> 8));
    return hidden;
}
inline Wide sum_of_pairs(Lanes a, Lanes b) {
    Wide sum;
    for (int k = 0; k < 8; ++k) sum[k] = int32_t{a[2 * k]} * b[2 * k] + int32_t{a[2 * k + 1]} * b[2 * k + 1];
    return sum;
}

#endif

// Logits of lanes 0 to 3 and 8 to 11 from a first one on.
inline void put(float *logits, Wide sums, float scale, int32_t bias) {
    const Reals values = __builtin_convertvector(sums + bias, Reals) * scale;
    std::memcpy(logits, &values, sizeof values / 2);
    std::memcpy(logits + 8, reinterpret_cast<const char *>(&values) + sizeof values / 2, sizeof values / 2);
}

// A cell's stream and hidden activations: the first channel's.
struct Cell {
    Lanes *stream;
    const Lanes *hidden;
};

// stream[o] += gain[o] times the sum over k of weights[o / 4][k / 2][o % 4][k % 2] hidden[k / 2][k % 2], plus bias[o],
// of some cells and 4 kGroups outputs from `first` on.
template <int kCells, int kGroups>
inline void pointwise_tile(const Cell (&cells)[kCells], int first, const int32_t *weights, const int16_t *gain,
                     const int16_t *bias, int inputs, int stride) {
    constexpr int kSums = kOutputs * kGroups;
    const Lanes *hidden[kCells];
    for (int n = 0; n < kCells; ++n) hidden[n] = cells[n].hidden;
    Lanes total[kSums][kCells] = {};
    for (int k = 0; k < inputs; k += kChunk) {
        Lanes sum[kSums][kCells] = {};
        const int pairs = std::min(kChunk, inputs - k) / 2;
#pragma GCC unroll 4
        for (int pair = 0; pair < pairs; ++pair) {
            for (int o = 0; o < kSums; ++o) {
                const Lanes w = broadcast_pair(weights[o / kOutputs * (inputs / 2) * kOutputs + o % kOutputs]);
                for (int n = 0; n < kCells; ++n) sum[o][n] += product_of_bytes(*hidden[n], w);
            }
            for (int n = 0; n < kCells; ++n) hidden[n] += stride;
            weights += kOutputs;
        }
        for (int o = 0; o < kSums; ++o)
            for (int n = 0; n < kCells; ++n) total[o][n] = add_saturated(total[o][n], sum[o][n]);
    }
    for (int o = 0; o < kSums; ++o)
        for (int n = 0; n < kCells; ++n) {
            Lanes &target = cells[n].stream[static_cast<int64_t>(first + o) * stride];
            const Lanes step = add_saturated(scaled(total[o][n], broadcast(gain[o])), broadcast(bias[o]));
            target = add_saturated(target, step);
        }
}

struct Integer {
    using Number = int16_t;
    using Vector = Lanes;
    using Network = IntegerTables;
    static constexpr int kLanes = 16, kPointwiseCells = 2;

    static int hidden_planes(int channels) { return channels / 2; }

    static void add(int16_t *sum, const int16_t *weights, int64_t channels) {
        for (int64_t c = 0; c < channels; c += kLanes) {
            Lanes a, b;
            std::memcpy(&a, sum + c, sizeof a);
            std::memcpy(&b, weights + c, sizeof b);
            a = add_saturated(a, b);
            std::memcpy(sum + c, &a, sizeof a);
        }
    }

    static Lanes relu(Lanes x) { return at_least(x, Lanes{}); }

    static void interleave(Lanes a, Lanes b, Lanes &low, Lanes &high) {
        low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        high = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }

    static void stencils(const Network &net, int block, Lanes *hidden, const Rows<Lanes> &near,
                         const int16_t *fields, const Volume &v) {
        const int64_t channels = net.sizes.channels;
        const Tiles tiles(v.columns);
        const Lanes most = broadcast(kHidden);
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t at = block * channels + c;
            const Lanes gain = broadcast(net.gain[at]);
            const int16_t *field = fields + c * v.columns;
            tiles.for_each([&](int first, auto width) {
                constexpr int kColumns = decltype(width)::value;
                Lanes sum[kColumns] = {}, *out = hidden + c / 2 * v.stride() + first;
                add_stencil<kColumns>(sum, near, c * v.stride(), first, net.depthwise + at * kTaps, broadcast,
                                              scaled);
                for (int j = 0; j < kColumns; ++j) {
                    const Lanes raw = add_saturated(sum[j], broadcast(field[first + j]));
                    const Lanes value = at_most(at_least(scaled(raw, gain), Lanes{}), most);
                    out[j] = c % 2 ? out[j] | value << 8 : value;  // beside the channel before
                }
            });
        }
    }

    static void pointwise(const Network &net, int block, Lanes *stream, const Lanes *hidden, int cell, int end,
                    const Volume &v) {
        const int channels = net.sizes.channels, stride = v.stride();
        const int64_t offset = static_cast<int64_t>(block) * channels, row = static_cast<int64_t>(channels) * stride;
        const auto cell_at = [&](int cell) {
            const int64_t i = cell / v.columns, j = cell % v.columns;
            return Cell{stream + i * row + j, hidden + i * row / 2 + j};
        };
        const auto weights_to = [&](int o) { return net.pointwise + (offset + o) * channels / 2; };
        const int16_t *gain = net.pointwise_gain + offset, *bias = net.pointwise_bias + offset;
        // All outputs of two cells, so that these are read from the first-level cache but once.
        for (; cell + 1 < end; cell += 2) {
            const Cell two[] = {cell_at(cell), cell_at(cell + 1)};
            for (int o = 0; o < channels; o += kOutputs)
                pointwise_tile<2, 1>(two, o, weights_to(o), gain + o, bias + o, channels, stride);
        }
        if (cell < end) {
            const Cell one[] = {cell_at(cell)};
            for (int o = 0; o < channels; o += 2 * kOutputs)
                pointwise_tile<1, 2>(one, o, weights_to(o), gain + o, bias + o, channels, stride);
        }
    }

    static void head_row(const Network &net, float *out, const Lanes *stream, const Volume &v) {
        constexpr int kTogether = kMoves / 2;
        for (int j = 0; j < v.columns; ++j)
            for (int o = 0; o < kMoves; o += kTogether) {
                const int32_t *weights = net.head + static_cast<int64_t>(o) * net.sizes.channels / 2;
                Wide low[kTogether] = {}, high[kTogether] = {};
                for (int c = 0; c < net.sizes.channels; c += 2) {
                    const Lanes a = stream[static_cast<int64_t>(c) * v.stride() + j];
                    const Lanes b = stream[static_cast<int64_t>(c + 1) * v.stride() + j];
                    // Within halves of a vector, which is one instruction: lanes 0 to 3 and 8 to 11, then the others.
                    const Lanes first = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
                    const Lanes second =
                        __builtin_shufflevector(a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
                    for (int k = 0; k < kTogether; ++k) {
                        const Lanes w = broadcast_pair(*weights++);
                        low[k] += sum_of_pairs(first, w);
                        high[k] += sum_of_pairs(second, w);
                    }
                }
                for (int k = 0; k < kTogether; ++k) {
                    float *logits = out + ((o + k) * v.stride() + j) * kLanes;
                    put(logits, low[k], net.head_scale[o + k], net.head_bias[o + k]);
                    put(logits + 4, high[k], net.head_scale[o + k], net.head_bias[o + k]);
                }
            }
    }
};

}  // namespace

int64_t int8_scratch(const IntegerTables &tables) { return scratch<Integer>(tables); }

void int8_run(const IntegerTables &tables, const uint8_t *packed, int64_t row_bytes, int64_t shots, float *logits,
              void *memory) {
    run<Integer>(tables, packed, row_bytes, shots, logits, memory);
}

}  // namespace qecpipe::network::batch::QECPIPE_VARIANT
