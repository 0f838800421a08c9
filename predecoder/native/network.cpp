// The separable network on a CPU: bit-packed detections in, logits of every move out.
//
// Eight shots are computed side by side, one per lane of a vector, so that a weight is a broadcast and
// no lane idles whatever the patch. Shape legend: T layers, n = I * J cells of 2 x 2 ancillas, C
// channels, L = 8 lanes (shots). An activation is [T][C][n][L]: a channel of one layer is a plane of
// n vectors, which a depthwise convolution reads from the first-level cache, and a pointwise
// convolution is a matrix product over planes. Only the first convolution works shot by shot: its input
// is a few detections, whose weights it adds up.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

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

// out[n] = relu(field[n] + the stencil of one channel), one output plane.
template <int kColumns>
void stencil_columns(Lanes *out, const Lanes *const (&planes)[3], const float *taps, const float *field,
                     const Volume &v, int first) {
    for (int row = 0; row < v.rows; ++row) {
        const int cell = row * v.columns + first;
        Lanes sum[kColumns];
        for (int j = 0; j < kColumns; ++j) sum[j] = broadcast(field[cell + j]);
        add_stencil<kColumns>(sum, planes, taps, row, v.rows, v.columns, first);
        for (int j = 0; j < kColumns; ++j) out[cell + j] = relu(sum[j]);
    }
}

void stencil(Lanes *out, const Lanes *const (&planes)[3], const float *taps, const float *field, const Volume &v) {
    constexpr int kWidest = 9;  // its sums, three weights and a value fit the registers
    const int tiles = (v.columns + kWidest - 1) / kWidest;
    for (int tile = 0, first = 0; tile < tiles; ++tile) {
        const int width = (v.columns - first) / (tiles - tile);
        switch (width) {
#define QECPIPE_WIDTH(w) \
    case w: stencil_columns<w>(out, planes, taps, field, v, first); break;
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
        const int left = cells - n, width = left == 4 ? 2 : std::min(3, left);  // none of them alone
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

// Detections of one shot in one layer: their places k * n + cell, k the detector within its cell.
int list_events(int32_t *events, const uint8_t *shot, const int32_t *source, int places) {
    int count = 0;
    for (int place = 0; place < places; ++place) {
        const int32_t detector = source[place];
        events[count] = place;
        if (detector >= 0) count += (shot[detector >> 3] >> (detector & 7)) & 1;
    }
    return count;
}

// Adds to `sums` [n][C], one shot's in one layer, what the detections of a layer give them. `weights` are
// [4][27][C], from the first of that layer's nine taps on.
void add_events(float *sums, const int32_t *events, int count, const float *weights, int64_t channels,
                const Volume &v) {
    for (int event = 0; event < count; ++event) {
        const int cell = events[event] % v.cells(), row = cell / v.columns, column = cell % v.columns;
        const float *taps = weights + events[event] / v.cells() * kTaps * channels;
        for (int di = 0; di < 3; ++di) {
            const int i = row + 1 - di;
            if (i < 0 || i >= v.rows) continue;
            for (int dj = 0; dj < 3; ++dj) {
                const int j = column + 1 - dj;
                if (j < 0 || j >= v.columns) continue;
                float *sum = sums + (i * v.columns + j) * channels;
                const float *weight = taps + (3 * di + dj) * channels;
                for (int64_t c = 0; c < channels; ++c) sum[c] += weight[c];
            }
        }
    }
}

// Rows of eight floats to columns.
inline void transpose(Lanes (&x)[kLanes]) {
    Lanes y[kLanes];
    for (int k = 0; k < 4; ++k) {
        y[k] = __builtin_shufflevector(x[k], x[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        y[k + 4] = __builtin_shufflevector(x[k], x[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int k : {0, 1, 4, 5}) {
        x[k] = __builtin_shufflevector(y[k], y[k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        x[k + 2] = __builtin_shufflevector(y[k], y[k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int k : {0, 2, 4, 6}) {
        y[k] = __builtin_shufflevector(x[k], x[k + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        y[k + 1] = __builtin_shufflevector(x[k], x[k + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    std::copy_n(y, kLanes, x);
}

// relu of eight shots' sums [L][n][C] as planes [C][n][L].
void interleave(Lanes *planes, const float *sums, int64_t channels, const Volume &v) {
    for (int cell = 0; cell < v.cells(); ++cell)
        for (int64_t c = 0; c < channels; c += kLanes) {
            Lanes tile[kLanes];
            for (int s = 0; s < kLanes; ++s)
                std::memcpy(&tile[s], sums + (s * v.cells() + cell) * channels + c, sizeof(Lanes));
            transpose(tile);
            for (int k = 0; k < kLanes; ++k) planes[(c + k) * v.stride() + cell] = relu(tile[k]);
        }
}

// Logits [..][L] at `places` to rows of shots.
void gather(float *logits, const Lanes *planes, const int32_t *places, int64_t moves, int shots) {
    int64_t m = 0;
    for (; m + kLanes <= moves; m += kLanes) {
        Lanes tile[kLanes];
        for (int k = 0; k < kLanes; ++k) tile[k] = planes[places[m + k]];
        transpose(tile);
        for (int s = 0; s < shots; ++s) std::memcpy(logits + s * moves + m, &tile[s], sizeof(Lanes));
    }
    for (; m < moves; ++m)
        for (int s = 0; s < shots; ++s) logits[s * moves + m] = planes[places[m]][s];
}

}  // namespace

extern "C" {

struct QecpipeNetwork {
    int32_t channels, blocks, layers, rows, columns, kinds;
    const float *embed;       // [4][27][C]
    const float *start;       // [T][n][C]: bias and presence
    const float *depth;       // [blocks][C][27]
    const float *fields;      // [blocks][kinds][C][n]: bias and geometry, for every kind of layer
    const float *mix;         // [blocks][C / 4][C][4]
    const float *mix_bias;    // [blocks][C]
    const float *head;        // [3][C][4]
    const float *head_bias;   // [12]
    const int32_t *kind;      // [T]: of every layer
    const int32_t *source;    // [T][4][n]: detector or -1
    const int32_t *places;    // [moves]: of every move in [T][12][stride]
    int64_t moves;
};
}

namespace {

// The parts of the scratch memory, each a whole number of cache lines.
struct Scratch {
    Lanes *activations, *hidden, *out;
    float *sums;
    int32_t *events, *counts;
    int64_t bytes;

    Scratch(const QecpipeNetwork &net, void *memory) {
        const Volume v{net.layers, net.rows, net.columns};
        const int64_t channels = net.channels, layers = v.layers;
        char *next = static_cast<char *>(memory);
        const auto take = [&](auto *&part, int64_t count) {
            part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(next);
            next += (count * static_cast<int64_t>(sizeof(*part)) + 63) / 64 * 64;
        };
        take(activations, layers * channels * v.stride());
        take(hidden, 2 * channels * v.stride());
        take(out, layers * kMoves * v.stride());
        take(sums, kLanes * channels * v.cells());
        take(events, layers * kLanes * kDetectors * v.cells());
        take(counts, layers * kLanes);
        bytes = next - static_cast<char *>(memory);
    }
};

// The first convolution, of up to eight shots.
void embed(const QecpipeNetwork &net, const Scratch &scratch, const uint8_t *packed, int64_t row_bytes, int shots,
           const Volume &v) {
    const int places = kDetectors * v.cells();
    const int64_t channels = net.channels, area = channels * v.cells();
    const auto events_at = [&](int at) { return scratch.events + static_cast<int64_t>(at) * places; };
    for (int t = 0; t < v.layers; ++t)
        for (int s = 0; s < kLanes; ++s) {
            const int at = t * kLanes + s;
            const int32_t *source = net.source + static_cast<int64_t>(t) * places;
            scratch.counts[at] = s < shots ? list_events(events_at(at), packed + s * row_bytes, source, places) : 0;
        }
    for (int t = 0; t < v.layers; ++t) {
        for (int s = 0; s < kLanes; ++s) {
            float *sums = scratch.sums + s * area;
            std::copy_n(net.start + t * area, area, sums);
            for (int dt = 0; dt < 3; ++dt) {
                const int from = t + dt - 1, at = from * kLanes + s;
                if (from < 0 || from >= v.layers) continue;
                add_events(sums, events_at(at), scratch.counts[at], net.embed + 9 * dt * channels, channels, v);
            }
        }
        interleave(scratch.activations + t * channels * v.stride(), scratch.sums, channels, v);
    }
}

// Layer t of one block's stencils.
void depthwise(const QecpipeNetwork &net, const Scratch &scratch, int block, int t, const Volume &v) {
    const int64_t channels = net.channels, layer = channels * v.stride();
    for (int64_t c = 0; c < channels; ++c) {
        const Lanes *near[3];
        for (int dt = 0; dt < 3; ++dt) {
            const int from = t + dt - 1;
            const bool inside = from >= 0 && from < v.layers;
            near[dt] = inside ? scratch.activations + from * layer + c * v.stride() : nullptr;
        }
        const int64_t field = (static_cast<int64_t>(block) * net.kinds + net.kind[t]) * channels + c;
        stencil(scratch.hidden + (t % 2) * layer + c * v.stride(), near, net.depth + (block * channels + c) * kTaps,
                net.fields + field * v.cells(), v);
    }
}

}  // namespace

extern "C" {

// Vectors from one plane to the next.
int32_t qecpipe_network_stride(int32_t rows, int32_t columns) { return Volume{1, rows, columns}.stride(); }

// Bytes of scratch, 64-byte aligned, that a call needs.
int64_t qecpipe_network_scratch(const QecpipeNetwork *net) { return Scratch(*net, nullptr).bytes; }

// packed: [shots][row_bytes], LSB first; logits: [shots][moves].
void qecpipe_network(const QecpipeNetwork *net, const uint8_t *packed, int64_t row_bytes, int64_t shots,
                     float *logits, void *memory) {
    const Volume v{net->layers, net->rows, net->columns};
    const Scratch scratch(*net, memory);
    const int64_t channels = net->channels, layer = channels * v.stride();
    for (int64_t begin = 0; begin < shots; begin += kLanes) {
        const int count = static_cast<int>(std::min<int64_t>(kLanes, shots - begin));
        embed(*net, scratch, packed + begin * row_bytes, row_bytes, count, v);
        for (int b = 0; b < net->blocks; ++b) {
            // A layer changes in place once the next one's stencil has read it.
            depthwise(*net, scratch, b, 0, v);
            for (int t = 0; t < v.layers; ++t) {
                if (t + 1 < v.layers) depthwise(*net, scratch, b, t + 1, v);
                product<true>(scratch.activations + t * layer, scratch.hidden + (t % 2) * layer,
                              net->mix + b * channels * channels, net->mix_bias + b * channels, net->channels,
                              net->channels, v);
            }
        }
        for (int t = 0; t < v.layers; ++t)
            product<false>(scratch.out + static_cast<int64_t>(t) * kMoves * v.stride(),
                           scratch.activations + t * layer, net->head, net->head_bias, kMoves, net->channels, v);
        gather(logits + begin * net->moves, scratch.out, net->places, net->moves, count);
    }
}
}
