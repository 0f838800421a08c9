// The separable network on batches, whatever its arithmetic: bit-packed detections in, logits of every move out.
//
// Some shots are computed side by side, one per lane of a vector, so that a weight is a broadcast and no
// lane idles whatever the patch. Shape legend: T layers, I rows and J columns of cells of 2 x 2 ancillas, C
// channels, L lanes (shots). The stream of activations is [T][I][C][J][L]: a row of one channel is a few
// vectors, which a depthwise convolution combines with those of eight neighbours, and the rows of all
// channels follow each other, so that a pointwise convolution is a matrix product over consecutive memory.
// Only the first convolution works shot by shot: its input is a few detections, whose weights it adds up.
//
// An arithmetic A tells the type of a Number in the stream, of a Vector of kLanes of them, of the Network
// with its tables, hidden_planes(channels) of a row of hidden activations, how many kPointwiseCells are best mixed
// at a time, and add, relu, interleave, stencils, pointwise and head_row.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "network/batch.h"

namespace qecpipe::network::batch::QECPIPE_VARIANT {

struct Volume {
    int layers, rows, columns;
    // Vectors of 32 bytes from one channel's row to the next. Long rows are an odd number of cache lines apart,
    // so that those of all channels do not fall on the same few sets of the cache.
    int stride() const { return columns < 12 ? columns : columns + (4 + 2 - columns % 4) % 4; }
};

// A detection in a row: which detector of its cell, and the cell's column.
struct Event {
    int16_t detector, column;
};

// The detections of one shot in one row of a layer.
inline int list_events(Event *events, const uint8_t *shot, const int32_t *source, int columns) {
    int count = 0;
    for (int k = 0; k < kDetectors; ++k)
        for (int j = 0; j < columns; ++j) {
            const int32_t detector = *source++;
            events[count] = {static_cast<int16_t>(k), static_cast<int16_t>(j)};
            if (detector >= 0) count += (shot[detector >> 3] >> (detector & 7)) & 1;
        }
    return count;
}

// A row of columns as tiles that are alike in width.
struct Tiles {
    int count, width, wider;  // the first `wider` tiles have one column more

    explicit Tiles(int columns) {
        constexpr int kWidest = 9;  // its sums, three weights and a value fit sixteen registers
        count = (columns + kWidest - 1) / kWidest;
        width = columns / count;
        wider = columns % count;
    }

    // Calls visit(first, std::integral_constant<int, width>) for every tile.
    template <class Visitor>
    void for_each(Visitor visit) const {
        for (int tile = 0, first = 0; tile < count; ++tile) {
            const int columns = width + (tile < wider);
            switch (columns) {
#define QECPIPE_WIDTH(w) \
    case w: visit(first, std::integral_constant<int, w>()); break;
                QECPIPE_WIDTH(1) QECPIPE_WIDTH(2) QECPIPE_WIDTH(3) QECPIPE_WIDTH(4) QECPIPE_WIDTH(5)
                QECPIPE_WIDTH(6) QECPIPE_WIDTH(7) QECPIPE_WIDTH(8) QECPIPE_WIDTH(9)
#undef QECPIPE_WIDTH
            }
            first += columns;
        }
    }
};

// The nine rows around a row and layer; those outside the volume are null: a convolution sees zeros there.
template <class Vector>
struct Rows {
    const Vector *start[9];
    int columns;
};

// Adds a 3 x 3 x 3 stencil to the sums of a tile of columns, of the channel whose rows are `at` vectors behind the
// starts.
template <int kColumns, class Vector, class Number, class Broadcast, class Multiply>
inline void add_stencil(Vector (&sum)[kColumns], const Rows<Vector> &near, int64_t at, int first, const Number *taps,
                        Broadcast broadcast, Multiply multiply) {
    const bool left = first > 0, right = first + kColumns < near.columns;
    for (int row = 0; row < 9; ++row) {
        if (!near.start[row]) continue;
        const Vector *x = near.start[row] + at + first;
        const Number *w = taps + 3 * row;
        const Vector before = broadcast(w[0]), here = broadcast(w[1]), after = broadcast(w[2]);
        if (left) sum[0] += multiply(before, x[-1]);
#pragma GCC unroll 16
        for (int j = 0; j < kColumns; ++j) {
            const Vector value = x[j];
            if (j + 1 < kColumns) sum[j + 1] += multiply(before, value);
            sum[j] += multiply(here, value);
            if (j > 0) sum[j - 1] += multiply(after, value);
        }
        if (right) sum[kColumns - 1] += multiply(after, x[kColumns]);
    }
}

// Scratch memory and the steps of a network on one group of shots.
template <class A>
class Group {
    using Number = typename A::Number;
    using Vector = typename A::Vector;
    using Network = typename A::Network;
    static constexpr int kLanes = A::kLanes;

    const Network &net_;
    const Volume v_;
    const int64_t row_, hidden_row_;  // vectors
    Vector *stream_, *hidden_;
    float *out_;
    Number *sums_;
    Event *events_;
    int32_t *counts_;
    int64_t bytes_;

    int64_t at(int t, int i) const { return static_cast<int64_t>(t) * v_.rows + i; }
    Vector *stream(int t, int i) const { return stream_ + at(t, i) * row_; }
    Vector *hidden(int t, int i) const { return hidden_ + at(t % 2, i) * hidden_row_; }
    Event *events(int64_t row, int s) const { return events_ + (row * kLanes + s) * kDetectors * v_.columns; }

public:
    Group(const Network &net, void *memory)
        : net_(net), v_{net.sizes.layers, net.sizes.rows, net.sizes.columns},
          row_(static_cast<int64_t>(net.sizes.channels) * v_.stride()),
          hidden_row_(static_cast<int64_t>(A::hidden_planes(net.sizes.channels)) * v_.stride()) {
        char *next = static_cast<char *>(memory);
        const auto take = [&](auto *&part, int64_t count) {
            part = reinterpret_cast<std::remove_reference_t<decltype(part)>>(next);
            next += (count * static_cast<int64_t>(sizeof(*part)) + 63) / 64 * 64;
        };
        const int64_t rows = at(v_.layers, 0);
        take(stream_, rows * row_);
        take(hidden_, 2 * v_.rows * hidden_row_);
        take(out_, kMoves * v_.stride() * kLanes);
        take(sums_, static_cast<int64_t>(kLanes) * v_.columns * net.sizes.channels);
        take(events_, rows * kLanes * kDetectors * v_.columns);
        take(counts_, rows * kLanes);
        bytes_ = next - static_cast<char *>(memory);
    }

    int64_t bytes() const { return bytes_; }

    void run(const uint8_t *packed, int64_t row_bytes, int shots, float *logits) {
        embed(packed, row_bytes, shots);
        for (int block = 0; block < net_.sizes.blocks; ++block) {
            for (int i = 0; i < v_.rows; ++i) depthwise(block, 0, i);
            for (int t = 0; t < v_.layers; ++t) pointwise_behind(block, t);
        }
        for (int t = 0; t < v_.layers; ++t)
            for (int i = 0; i < v_.rows; ++i) {
                A::head_row(net_, out_, stream(t, i), v_);
                scatter(logits, shots, net_.sizes.targets + at(t, i) * kMoves * v_.columns);
            }
    }

private:
    // The first convolution.
    void embed(const uint8_t *packed, int64_t row_bytes, int shots) {
        for (int64_t row = 0; row < at(v_.layers, 0); ++row) {
            const int32_t *source = net_.sizes.source + row * kDetectors * v_.columns;
            for (int s = 0; s < kLanes; ++s)
                counts_[row * kLanes + s] =
                    s < shots ? list_events(events(row, s), packed + s * row_bytes, source, v_.columns) : 0;
        }
        for (int t = 0; t < v_.layers; ++t)
            for (int i = 0; i < v_.rows; ++i) {
                for (int s = 0; s < kLanes; ++s) sum_events(t, i, s);
                to_planes(stream(t, i));
            }
    }

    // One shot's first convolution in one row, [J][C], but for its relu.
    void sum_events(int t, int i, int s) {
        const int64_t channels = net_.sizes.channels, size = v_.columns * channels;
        Number *sums = sums_ + s * size;
        std::copy_n(net_.first_layer_bias + at(t, i) * size, size, sums);
        for (int near = 0; near < 9; ++near) {
            const int from_t = t + near / 3 - 1, from_i = i + near % 3 - 1;
            if (from_t < 0 || from_t >= v_.layers || from_i < 0 || from_i >= v_.rows) continue;
            const int64_t from = at(from_t, from_i);
            const Event *event = events(from, s), *end = event + counts_[from * kLanes + s];
            for (; event < end; ++event) {
                const Number *taps = net_.embed + (event->detector * kTaps + 3 * near) * channels;
                for (int dj = 0; dj < 3; ++dj) {
                    const int j = event->column + 1 - dj;
                    if (j < 0 || j >= v_.columns) continue;
                    A::add(sums + j * channels, taps + dj * channels, channels);
                }
            }
        }
    }

    // relu of all shots' sums [L][J][C] as a row of planes [C][J][L].
    void to_planes(Vector *planes) const {
        const int64_t channels = net_.sizes.channels;
        for (int j = 0; j < v_.columns; ++j)
            for (int64_t c = 0; c < channels; c += kLanes) {
                Vector tile[kLanes];
                for (int s = 0; s < kLanes; ++s)
                    std::memcpy(&tile[s], sums_ + (s * v_.columns + j) * channels + c, sizeof(Vector));
                transpose(tile);
                for (int k = 0; k < kLanes; ++k) planes[(c + k) * v_.stride() + j] = A::relu(tile[k]);
            }
    }

    // Rows to columns, by perfect shuffles.
    static void transpose(Vector (&x)[kLanes]) {
        for (int round = 1; round < kLanes; round *= 2) {
            Vector y[kLanes];
            for (int k = 0; k < kLanes / 2; ++k) A::interleave(x[k], x[k + kLanes / 2], y[2 * k], y[2 * k + 1]);
            std::copy_n(y, kLanes, x);
        }
    }

    // Ends a block in layer t. A row changes in place once the next layer's stencils have read it, and soon
    // after, while it is in the cache.
    void pointwise_behind(int block, int t) {
        int mixed = 0;
        for (int i = 0; i <= v_.rows; ++i) {
            const bool last = i == v_.rows;
            if (!last && t + 1 < v_.layers) depthwise(block, t + 1, i);
            const int read = i * v_.columns, until = last ? read : read - (read - mixed) % A::kPointwiseCells;
            A::pointwise(net_, block, stream(t, 0), hidden(t, 0), mixed, until, v_);
            mixed = until;
        }
    }

    // One block's hidden activations in row i of layer t.
    void depthwise(int block, int t, int i) {
        const int kind = net_.sizes.kind[t];
        const int64_t first = (static_cast<int64_t>(block) * net_.sizes.kinds + kind) * v_.rows + i;
        const Number *fields = net_.position_bias + first * net_.sizes.channels * v_.columns;
        Rows<Vector> near{{}, v_.columns};
        for (int k = 0; k < 9; ++k) {
            const int from_t = t + k / 3 - 1, from_i = i + k % 3 - 1;
            const bool inside = from_t >= 0 && from_t < v_.layers && from_i >= 0 && from_i < v_.rows;
            near.start[k] = inside ? stream(from_t, from_i) : nullptr;
        }
        A::stencils(net_, block, hidden(t, i), near, fields, v_);
    }

    // A row's logits [12][J][L] to rows of shots.
    void scatter(float *logits, int shots, const int32_t *targets) const {
        for (int o = 0; o < kMoves; ++o)
            for (int j = 0; j < v_.columns; ++j) {
                const int32_t target = targets[o * v_.columns + j];
                if (target < 0) continue;
                const float *values = out_ + (o * v_.stride() + j) * kLanes;
                float *to = logits + target;
                if (shots == kLanes) {
                    for (int s = 0; s < kLanes; ++s) to[s * net_.sizes.moves] = values[s];
                } else {
                    for (int s = 0; s < shots; ++s) to[s * net_.sizes.moves] = values[s];
                }
            }
    }
};

// packed: [shots][row_bytes], LSB first; logits: [shots][moves]; memory: 64-byte aligned, `scratch` bytes.
template <class A>
void run(const typename A::Network &net, const uint8_t *packed, int64_t row_bytes, int64_t shots, float *logits,
         void *memory) {
    Group<A> group(net, memory);
    for (int64_t begin = 0; begin < shots; begin += A::kLanes)
        group.run(packed + begin * row_bytes, row_bytes, static_cast<int>(std::min<int64_t>(A::kLanes, shots - begin)),
                  logits + begin * net.sizes.moves);
}

template <class A>
int64_t scratch(const typename A::Network &net) {
    return Group<A>(net, nullptr).bytes();
}

}  // namespace qecpipe::network::batch::QECPIPE_VARIANT
