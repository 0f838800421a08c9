// The separable network on a CPU: bit-packed detections in, logits of every move out.
//
// Eight shots are computed side by side, one per lane of a vector, so that a weight is a broadcast and
// no lane idles whatever the patch. Shape legend: T layers, n = I * J cells of 2 x 2 ancillas, C
// channels, L = 8 lanes (shots). An activation is [T][C][n][L]: a channel of one layer is a plane of
// n vectors, which a depthwise convolution reads from the first-level cache, and a pointwise
// convolution is a matrix product over planes.
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = 8;
constexpr int kMoves = 12;     // channels out: moves of a cell
constexpr int kDetectors = 4;  // channels in
constexpr int kTaps = 27;
constexpr int kOutputs = 4;    // of a tile of the matrix product

typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(32)));

inline Lanes broadcast(float x) { return Lanes{x, x, x, x, x, x, x, x}; }

inline Lanes relu(Lanes x) {
    const Lanes zero = {};
    return x > zero ? x : zero;
}

// Columns of one row of a plane: adds a 3 x 3 x 3 stencil over up to three layers to `sum`.
// Planes outside the volume are null; a convolution sees zeros there.
template <int kColumns>
inline void add_stencil(Lanes (&sum)[kColumns], const Lanes *const (&planes)[3], const float *taps, int row,
                        int rows, int columns, int first) {
    const bool left = first > 0, right = first + kColumns < columns;
    for (int dt = 0; dt < 3; ++dt) {
        if (!planes[dt]) continue;
        for (int di = 0; di < 3; ++di) {
            const int at = row + di - 1;
            if (at < 0 || at >= rows) continue;
            const Lanes *x = planes[dt] + at * columns + first;
            const float *w = taps + 9 * dt + 3 * di;
            const Lanes before = broadcast(w[0]), here = broadcast(w[1]), after = broadcast(w[2]);
            if (left) sum[0] += before * x[-1];
#pragma GCC unroll 16
            for (int j = 0; j < kColumns; ++j) {
                const Lanes value = x[j];
                if (j + 1 < kColumns) sum[j + 1] += before * value;
                sum[j] += here * value;
                if (j > 0) sum[j - 1] += after * value;
            }
            if (right) sum[kColumns - 1] += after * x[kColumns];
        }
    }
}

struct Volume {
    int layers, rows, columns;
    int cells() const { return rows * columns; }
    // Vectors from one plane to the next: an odd number of cache lines, so that the planes of all
    // channels do not fall on the same few sets of the cache.
    int stride() const { return cells() + (4 + 2 - cells() % 4) % 4; }
};

// out[n] = relu(start[n] + sum over inputs of a stencil), one output plane. `start` is one float a cell,
// or one for all cells.
template <int kColumns>
void stencil_columns(Lanes *out, const Lanes *const *planes, int inputs, const float *taps, const float *start,
                     bool start_per_cell, const Volume &v, int first) {
    for (int row = 0; row < v.rows; ++row) {
        const int cell = row * v.columns + first;
        Lanes sum[kColumns];
        for (int j = 0; j < kColumns; ++j) sum[j] = broadcast(start[start_per_cell ? cell + j : 0]);
        for (int k = 0; k < inputs; ++k) {
            const Lanes *const near[3] = {planes[3 * k], planes[3 * k + 1], planes[3 * k + 2]};
            add_stencil<kColumns>(sum, near, taps + kTaps * k, row, v.rows, v.columns, first);
        }
        for (int j = 0; j < kColumns; ++j) out[cell + j] = relu(sum[j]);
    }
}

void stencil(Lanes *out, const Lanes *const *planes, int inputs, const float *taps, const float *start,
             bool start_per_cell, const Volume &v) {
    constexpr int kWidest = 9;  // its sums, three weights and a value fit the registers
    const int tiles = (v.columns + kWidest - 1) / kWidest;
    for (int tile = 0, first = 0; tile < tiles; ++tile) {
        const int width = (v.columns - first) / (tiles - tile);
        switch (width) {
#define QECPIPE_WIDTH(w) \
    case w: stencil_columns<w>(out, planes, inputs, taps, start, start_per_cell, v, first); break;
            QECPIPE_WIDTH(1) QECPIPE_WIDTH(2) QECPIPE_WIDTH(3) QECPIPE_WIDTH(4) QECPIPE_WIDTH(5)
            QECPIPE_WIDTH(6) QECPIPE_WIDTH(7) QECPIPE_WIDTH(8) QECPIPE_WIDTH(9)
#undef QECPIPE_WIDTH
        }
        first += width;
    }
}

// out[o][n] (+)= bias[o] + sum over k of weights[o / 4][k][o % 4] in[k][n], for 4 outputs and some cells.
template <int kCells, bool kAdd>
inline void product_tile(Lanes *out, const Lanes *in, const float *weights, const float *bias, int inputs,
                         int stride, int first) {
    Lanes sum[kOutputs][kCells];
    for (int o = 0; o < kOutputs; ++o)
        for (int n = 0; n < kCells; ++n) sum[o][n] = broadcast(bias[o]);
    for (int k = 0; k < inputs; ++k) {
        const Lanes *x = in + static_cast<int64_t>(k) * stride + first;
        for (int o = 0; o < kOutputs; ++o) {
            const Lanes w = broadcast(weights[kOutputs * k + o]);
            for (int n = 0; n < kCells; ++n) sum[o][n] += w * x[n];
        }
    }
    for (int o = 0; o < kOutputs; ++o)
        for (int n = 0; n < kCells; ++n) {
            Lanes &target = out[static_cast<int64_t>(o) * stride + first + n];
            target = kAdd ? target + sum[o][n] : sum[o][n];
        }
}

template <bool kAdd>
void product(Lanes *out, const Lanes *in, const float *weights, const float *bias, int outputs, int inputs,
             const Volume &v) {
    const int cells = v.cells(), stride = v.stride();
    // All outputs of a few cells, so that these are read from the first-level cache but once.
    for (int n = 0; n < cells;) {
        const int width = std::min(3, cells - n);
        for (int o = 0; o < outputs; o += kOutputs) {
            Lanes *target = out + static_cast<int64_t>(o) * stride;
            const float *w = weights + static_cast<int64_t>(o) * inputs;
            if (width == 3) product_tile<3, kAdd>(target, in, w, bias + o, inputs, stride, n);
            else if (width == 2) product_tile<2, kAdd>(target, in, w, bias + o, inputs, stride, n);
            else product_tile<1, kAdd>(target, in, w, bias + o, inputs, stride, n);
        }
        n += width;
    }
}

// Detections of up to 8 shots as planes [T][4][n][L] of zeros and ones.
void unpack(Lanes *out, const uint8_t *packed, int64_t row_bytes, int shots, const int32_t *source,
            const Volume &v) {
    for (int64_t plane = 0; plane < static_cast<int64_t>(v.layers) * kDetectors; ++plane)
        for (int cell = 0; cell < v.cells(); ++cell) {
            Lanes x = {};
            if (const int32_t detector = source[plane * v.cells() + cell]; detector >= 0)
                for (int s = 0; s < shots; ++s)
                    x[s] = static_cast<float>((packed[s * row_bytes + (detector >> 3)] >> (detector & 7)) & 1);
            out[plane * v.stride() + cell] = x;
        }
}

// Logits [..][L] at `places` to rows of shots.
void gather(float *logits, const Lanes *planes, const int32_t *places, int64_t moves, int shots) {
    const float *flat = reinterpret_cast<const float *>(planes);
    constexpr int kBlock = 8;
    int64_t m = 0;
    for (; m + kBlock <= moves; m += kBlock) {
        float tile[kLanes][kBlock];
        for (int b = 0; b < kBlock; ++b)
            for (int s = 0; s < kLanes; ++s) tile[s][b] = flat[static_cast<int64_t>(places[m + b]) * kLanes + s];
        for (int s = 0; s < shots; ++s) std::memcpy(logits + s * moves + m, tile[s], sizeof(tile[s]));
    }
    for (; m < moves; ++m)
        for (int s = 0; s < shots; ++s)
            logits[s * moves + m] = flat[static_cast<int64_t>(places[m]) * kLanes + s];
}

}  // namespace

extern "C" {

struct QecpipeNetwork {
    int32_t channels, blocks, layers, rows, columns;
    const float *embed;      // [C][4][27]
    const float *start;      // [T][C][n]: bias and presence
    const float *depth;      // [blocks][C][27]
    const float *depth_bias; // [blocks][C]
    const float *mix;        // [blocks][C / 4][C][4]
    const float *mix_bias;   // [blocks][C]
    const float *head;       // [3][C][4]
    const float *head_bias;  // [12]
    const int32_t *source;   // [T][4][n]: detector or -1
    const int32_t *places;   // [moves]: of every move in [T][12][stride]
    int64_t moves;
};

// Vectors from one plane to the next.
int32_t qecpipe_network_stride(int32_t rows, int32_t columns) { return Volume{1, rows, columns}.stride(); }

// Bytes of scratch, 32-byte aligned, that a call needs.
int64_t qecpipe_network_scratch(const QecpipeNetwork *net) {
    const int64_t plane = qecpipe_network_stride(net->rows, net->columns);
    const int64_t layers = net->layers;
    const int64_t vectors =
        layers * plane * (net->channels + kDetectors + kMoves) + 2 * net->channels * plane;
    return vectors * static_cast<int64_t>(sizeof(Lanes));
}

// packed: [shots][row_bytes], LSB first; logits: [shots][moves].
void qecpipe_network(const QecpipeNetwork *net, const uint8_t *packed, int64_t row_bytes, int64_t shots,
                     float *logits, void *scratch) {
    const Volume v{net->layers, net->rows, net->columns};
    const int64_t plane = v.stride(), channels = net->channels;
    const int64_t layer = channels * plane;
    Lanes *x = static_cast<Lanes *>(scratch);
    Lanes *hidden = x + v.layers * layer;
    Lanes *bits = hidden + 2 * layer;
    Lanes *out = bits + v.layers * kDetectors * plane;
    for (int64_t begin = 0; begin < shots; begin += kLanes) {
        const int count = static_cast<int>(std::min<int64_t>(kLanes, shots - begin));
        unpack(bits, packed + begin * row_bytes, row_bytes, count, net->source, v);
        for (int t = 0; t < v.layers; ++t) {
            const Lanes *near[3 * kDetectors];
            for (int k = 0; k < kDetectors; ++k)
                for (int dt = 0; dt < 3; ++dt) {
                    const int at = t + dt - 1;
                    near[3 * k + dt] = at < 0 || at >= v.layers ? nullptr : bits + (at * kDetectors + k) * plane;
                }
            for (int64_t c = 0; c < channels; ++c)
                stencil(x + t * layer + c * plane, near, kDetectors, net->embed + c * kDetectors * kTaps,
                        net->start + (t * channels + c) * v.cells(), true, v);
        }
        for (int b = 0; b < net->blocks; ++b) {
            const float *taps = net->depth + b * channels * kTaps;
            const auto depthwise = [&](int t) {
                for (int64_t c = 0; c < channels; ++c) {
                    const Lanes *near[3];
                    for (int dt = 0; dt < 3; ++dt) {
                        const int at = t + dt - 1;
                        near[dt] = at < 0 || at >= v.layers ? nullptr : x + at * layer + c * plane;
                    }
                    stencil(hidden + (t % 2) * layer + c * plane, near, 1, taps + c * kTaps,
                            net->depth_bias + b * channels + c, false, v);
                }
            };
            // A layer changes in place once the next one's stencil has read it.
            depthwise(0);
            for (int t = 0; t < v.layers; ++t) {
                if (t + 1 < v.layers) depthwise(t + 1);
                product<true>(x + t * layer, hidden + (t % 2) * layer, net->mix + b * channels * channels,
                              net->mix_bias + b * channels, net->channels, net->channels, v);
            }
        }
        for (int t = 0; t < v.layers; ++t)
            product<false>(out + t * kMoves * plane, x + t * layer, net->head, net->head_bias, kMoves,
                           net->channels, v);
        gather(logits + begin * net->moves, out, net->places, net->moves, count);
    }
}
}
