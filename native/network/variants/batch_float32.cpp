// The separable network in float32, eight shots side by side.
#include "network/variants/batch.h"

namespace qecpipe::network::batch::QECPIPE_VARIANT {

namespace {

constexpr int kOutputs = 4;  // of a tile of the matrix product

typedef float Lanes __attribute__((vector_size(32), aligned(32)));

inline Lanes broadcast(float x) { return Lanes{x, x, x, x, x, x, x, x}; }
inline Lanes positive(Lanes x) {
    const Lanes zero = {};
    return x > zero ? x : zero;
}

// out[o][cell] (+)= bias[o] + sum over k of weights[k][o] in[k][cell], for 4 outputs and some cells, which stand `from`
// and `to` vectors behind the first one.
template <int kCells, bool kAdd>
inline void product_tile(Lanes *out, const Lanes *in, const int64_t *to, const int64_t *from, const float *weights,
                         const float *bias, int inputs, int stride) {
    Lanes sum[kOutputs][kCells];
    for (int o = 0; o < kOutputs; ++o)
        for (int n = 0; n < kCells; ++n) sum[o][n] = broadcast(bias[o]);
    for (int k = 0; k < inputs; ++k)
        for (int o = 0; o < kOutputs; ++o) {
            const Lanes w = broadcast(weights[kOutputs * k + o]);
            for (int n = 0; n < kCells; ++n) sum[o][n] += w * in[from[n] + static_cast<int64_t>(k) * stride];
        }
    for (int o = 0; o < kOutputs; ++o)
        for (int n = 0; n < kCells; ++n) {
            Lanes &target = out[to[n] + static_cast<int64_t>(o) * stride];
            target = kAdd ? target + sum[o][n] : sum[o][n];
        }
}

// Cells `begin` to `end` of rows of `outputs` and `inputs` planes; weights are [outputs / 4][inputs][4].
template <bool kAdd>
void product(Lanes *out, const Lanes *in, const float *weights, const float *bias, int outputs, int inputs, int begin,
             int end, const Volume &v) {
    const int stride = v.stride();
    // All outputs of a few cells, so that these are read from the first-level cache but once.
    for (int cell = begin; cell < end;) {
        const int left = end - cell, width = left == 4 ? 2 : std::min(3, left);  // none of them alone
        int64_t to[3], from[3];
        for (int n = 0; n < width; ++n) {
            const int64_t row = (cell + n) / v.columns, column = (cell + n) % v.columns;
            to[n] = row * outputs * stride + column;
            from[n] = row * inputs * stride + column;
        }
        for (int o = 0; o < outputs; o += kOutputs) {
            Lanes *target = out + static_cast<int64_t>(o) * stride;
            const float *w = weights + static_cast<int64_t>(o) * inputs;
            if (width == 3) product_tile<3, kAdd>(target, in, to, from, w, bias + o, inputs, stride);
            else if (width == 2) product_tile<2, kAdd>(target, in, to, from, w, bias + o, inputs, stride);
            else product_tile<1, kAdd>(target, in, to, from, w, bias + o, inputs, stride);
        }
        cell += width;
    }
}

struct Float {
    using Number = float;
    using Vector = Lanes;
    using Network = FloatTables;
    static constexpr int kLanes = 8, kPointwiseCells = 3;

    static int hidden_planes(int channels) { return channels; }

    static void add(float *sum, const float *weights, int64_t channels) {
        for (int64_t c = 0; c < channels; ++c) sum[c] += weights[c];
    }

    static Lanes relu(Lanes x) { return positive(x); }

    static void interleave(Lanes a, Lanes b, Lanes &low, Lanes &high) {
        low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
        high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    }

    static void stencils(const Network &net, int block, Lanes *hidden, const Rows<Lanes> &near,
                         const float *fields, const Volume &v) {
        const int64_t channels = net.sizes.channels;
        const Tiles tiles(v.columns);
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t at = c * v.stride();
            const float *taps = net.depthwise + (block * channels + c) * kTaps, *field = fields + c * v.columns;
            tiles.for_each([&](int first, auto width) {
                constexpr int kColumns = decltype(width)::value;
                Lanes sum[kColumns];
                for (int j = 0; j < kColumns; ++j) sum[j] = broadcast(field[first + j]);
                add_stencil<kColumns>(sum, near, at, first, taps, broadcast,
                                              [](Lanes a, Lanes b) { return a * b; });
                for (int j = 0; j < kColumns; ++j) hidden[at + first + j] = positive(sum[j]);
            });
        }
    }

    static void pointwise(const Network &net, int block, Lanes *stream, const Lanes *hidden, int begin, int end,
                    const Volume &v) {
        const int64_t channels = net.sizes.channels;
        product<true>(stream, hidden, net.pointwise + block * channels * channels, net.pointwise_bias + block * channels,
                      net.sizes.channels, net.sizes.channels, begin, end, v);
    }

    static void head_row(const Network &net, float *out, const Lanes *stream, const Volume &v) {
        product<false>(reinterpret_cast<Lanes *>(out), stream, net.head, net.head_bias, kMoves, net.sizes.channels, 0,
                       v.columns, v);
    }
};

}  // namespace

int64_t float32_scratch(const FloatTables &tables) { return scratch<Float>(tables); }

void float32_run(const FloatTables &tables, const uint8_t *packed, int64_t row_bytes, int64_t shots, float *logits,
                 void *memory) {
    run<Float>(tables, packed, row_bytes, shots, logits, memory);
}

}  // namespace qecpipe::network::batch::QECPIPE_VARIANT
