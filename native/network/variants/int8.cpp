// The separable network in integers: the same bits whatever the instruction set.
//
// The stream of activations has 16 bits; hidden activations, never negative, have 7; weights have 16 bits in
// the stencils and the head, and 8 in the pointwise convolution (tables.h says what cannot overflow).
#include "network/variants/lanes.h"
#include "network/variants/layouts.h"
#include "network/variants/stencil.h"
#include "network/variants/tiles.h"
#include "network/variants/wave.h"

namespace qecpipe::network::QECPIPE_VARIANT {

namespace {

using Vector = Lanes::Vector;

constexpr int kShorts = Lanes::kShorts, kWords = kShorts / 2;
constexpr int kVectorBytes = 2 * kShorts;
constexpr int kWidestMix = Lanes::kRegisters == 32 ? 8 : 5;  // two sums each, two weights and a value
constexpr int kWidestOfPairs = 6;                            // four sums each, four weights and a value
constexpr int kHeadVectors = (kMoves + kWords - 1) / kWords;
constexpr int kWidestHead = Lanes::kRegisters == 32 ? 8 : 4;

struct Int8 {
    using Number = int16_t;
    using Hidden = uint8_t;

    const Sizes sizes;
    const int channels;  // whole chunks: those that are added are 0, and stay so
    const int groups;    // of kShorts channels

    explicit Int8(const QuantizedTables& tables)
        : sizes(tables.sizes), channels((sizes.channels + kChunk - 1) / kChunk * kChunk),
          groups(channels / kShorts), embed_(in_neighbours(tables.embed, sizes.channels, channels)),
          first_layer_bias_(rows(tables.first_layer_bias, int64_t{sizes.first_layers} * sizes.patch.cells())),
          depthwise_(in_taps(tables.depthwise, sizes.blocks, sizes.channels, channels, kShorts)),
          position_bias_(
              rows(tables.position_bias, int64_t{sizes.blocks} * sizes.positions * sizes.patch.cells())),
          gain_(rows(tables.gain, sizes.blocks)), pointwise_(int64_t{sizes.blocks} * channels * channels),
          pointwise_gain_(rows(tables.pointwise_gain, sizes.blocks)),
          pointwise_bias_(rows(tables.pointwise_bias, sizes.blocks)),
          head_(int64_t{kHeadVectors} * kShorts * channels / 2), head_scale_(kHeadVectors * kWords),
          head_bias_(kHeadVectors * kWords) {
        order_pointwise(tables.pointwise);
        order_head(tables);
    }

    const Number* first_layer_bias(int kind) const {
        return first_layer_bias_ + int64_t{kind} * sizes.patch.cells() * channels;
    }

    const Number* embed(int detector, int near) const {
        return embed_ + (detector * 9 + near) * 3 * channels;
    }

    void add(Number* sum, const Number* numbers, int cells) const {
        for (int c = 0; c < cells * channels; c += kShorts)
            Lanes::store(sum + c, Lanes::add_saturated(Lanes::load(sum + c), Lanes::load(numbers + c)));
    }

    void relu(Number* numbers, int cells) const {
        const int64_t size = static_cast<int64_t>(cells) * channels;
        for (int64_t c = 0; c < size; c += kShorts)
            Lanes::store(numbers + c, Lanes::positive(Lanes::load(numbers + c)));
    }

    void depthwise(int block, int kind, int row, const Rows<Number>& near, Hidden* hidden) const {
        const int64_t cell =
            (int64_t{block} * sizes.positions + kind) * sizes.patch.cells() + row * near.columns;
        for (int group = 0; group < groups; ++group) {
            const int first_channel = group * kShorts;
            const Number* taps = depthwise_ + (int64_t{block} * groups + group) * kTaps * kShorts;
            const Number* bias = position_bias_ + cell * channels + first_channel;
            const Vector gain = Lanes::load(gain_ + int64_t{block} * channels + first_channel);
            for_each_tile<kWidestStencil>(near.columns, [&](int first, auto width) {
                const int64_t at = int64_t{first} * channels;
                stencil<decltype(width)::value>(near, at + first_channel, first, taps, bias + at, gain,
                                                hidden + at + first_channel);
            });
        }
    }

    void pointwise(int block, const Number* from, const Hidden* hidden, Number* to) const {
        if (Lanes::kRegisters == 32 && groups % 2 == 0)
            mix_groups<kWidestOfPairs, 2>(block, from, hidden, to);
        else mix_groups<kWidestMix, 1>(block, from, hidden, to);
    }

    void head(const Number* numbers, float* logits) const {
        for_each_tile<kWidestHead>(sizes.patch.cells(), [&](int first, auto width) {
            read_out<decltype(width)::value>(numbers + int64_t{first} * channels, logits + first * kLogits);
        });
    }

  private:
    Buffer<Number> rows(const Number* table, int64_t count) const {
        return in_rows(table, count, sizes.channels, channels);
    }

    // A 3 x 3 x 3 stencil's hidden activations of some columns; `at` is the first one's place in each row.
    template <int kColumns>
    void stencil(const Rows<Number>& near, int64_t at, int first, const Number* taps, const Number* bias,
                 Vector gain, Hidden* hidden) const {
        Vector sum[kColumns];
        const int64_t step =
            channels;  // stores of bytes may change any member, for all that the compiler knows
        for (int j = 0; j < kColumns; ++j) sum[j] = Lanes::zero();
        add_stencil<kColumns, Lanes, kShorts>(sum, near, at, first, channels, taps);
        for (int j = 0; j < kColumns; ++j) {
            const int64_t cell = j * step;
            Lanes::put_hidden(hidden + cell,
                              Lanes::scaled(Lanes::add_saturated(sum[j], Lanes::load(bias + cell)), gain));
        }
    }

    template <int kWidest, int kGroups>
    void mix_groups(int block, const Number* from, const Hidden* hidden, Number* to) const {
        for_each_tile<kWidest>(sizes.patch.cells(), [&](int first, auto width) {
            const int64_t at = int64_t{first} * channels;
            for (int group = 0; group < groups; group += kGroups)
                mix<decltype(width)::value, kGroups>(block, group, from + at, hidden + at, to + at);
        });
    }

    // kGroups of kShorts outputs of the pointwise convolution of some cells, scaled and added to the stream.
    template <int kCells, int kGroups>
    void mix(int block, int group, const Number* from, const Hidden* hidden, Number* to) const {
        constexpr int kSums = 2 * kGroups;
        const int8_t* weights[kGroups];
        for (int g = 0; g < kGroups; ++g)
            weights[g] = pointwise_ + (int64_t{block} * groups + group + g) * kShorts * channels;
        Vector total[kCells][kSums];
        for (int n = 0; n < kCells; ++n)
            for (int s = 0; s < kSums; ++s) total[n][s] = Lanes::zero();
        for (int chunk = 0; chunk < channels; chunk += kChunk) {
            if constexpr (Lanes::kExact) {
                add_chunk<kCells, kSums>(total, weights, hidden + chunk);
            } else {
                Vector sum[kCells][kSums];
                for (int n = 0; n < kCells; ++n)
                    for (int s = 0; s < kSums; ++s) sum[n][s] = Lanes::zero();
                add_chunk<kCells, kSums>(sum, weights, hidden + chunk);
                for (int n = 0; n < kCells; ++n)
                    for (int s = 0; s < kSums; ++s)
                        total[n][s] = Lanes::add_words(total[n][s], Lanes::widened(sum[n][s]));
            }
            // `packed` cuts off what leaves 16 bits at the end; before, it takes more than two chunks to
            // leave them.
            if (chunk == 0 || chunk + kChunk == channels) continue;
            for (int n = 0; n < kCells; ++n)
                for (int s = 0; s < kSums; ++s) total[n][s] = Lanes::cut_words(total[n][s]);
        }
        for (int g = 0; g < kGroups; ++g) {
            const int64_t first = int64_t{group + g} * kShorts, offset = int64_t{block} * channels + first;
            const Vector gain = Lanes::load(pointwise_gain_ + offset),
                         bias = Lanes::load(pointwise_bias_ + offset);
            for (int n = 0; n < kCells; ++n) {
                const Vector sums = Lanes::packed(total[n][2 * g], total[n][2 * g + 1]);
                const Vector step = Lanes::add_saturated(Lanes::scaled(sums, gain), bias);
                const int64_t at = int64_t{n} * channels + first;
                Lanes::store(to + at, Lanes::add_saturated(Lanes::load(from + at), step));
            }
        }
    }

    // Adds the products of kChunk inputs of some cells with their weights, which are moved on.
    template <int kCells, int kSums>
    void add_chunk(Vector (&sum)[kCells][kSums], const int8_t* (&weights)[kSums / 2],
                   const Hidden* hidden) const {
#pragma GCC unroll 8
        for (int k = 0; k < kChunk; k += 4) {
            Vector w[kSums];
            for (int s = 0; s < kSums; ++s) w[s] = Lanes::load(weights[s / 2] + s % 2 * kVectorBytes);
            for (int g = 0; g < kSums / 2; ++g) weights[g] += 2 * kVectorBytes;
#pragma GCC unroll 8
            for (int n = 0; n < kCells; ++n) {
                const Vector x = Lanes::broadcast(hidden + int64_t{n} * channels + k);
                for (int s = 0; s < kSums; ++s) sum[n][s] = Lanes::dot(sum[n][s], x, w[s]);
            }
        }
    }

    // The logits of some cells.
    template <int kCells>
    void read_out(const Number* numbers, float* logits) const {
        Vector sum[kCells][kHeadVectors];
        for (int n = 0; n < kCells; ++n)
            for (int v = 0; v < kHeadVectors; ++v) sum[n][v] = Lanes::load(head_bias_ + v * kWords);
        const Number* weights = head_ + 0;
        for (int c = 0; c < channels; c += 2, weights += kHeadVectors * kShorts) {
            Vector w[kHeadVectors];
            for (int v = 0; v < kHeadVectors; ++v) w[v] = Lanes::load(weights + v * kShorts);
#pragma GCC unroll 8
            for (int n = 0; n < kCells; ++n) {
                const Vector x = Lanes::broadcast(numbers + int64_t{n} * channels + c);
                for (int v = 0; v < kHeadVectors; ++v) sum[n][v] = Lanes::pairs(sum[n][v], x, w[v]);
            }
        }
        for (int n = 0; n < kCells; ++n)
            for (int v = 0; v < kHeadVectors; ++v)
                Lanes::put_floats(logits + n * kLogits + v * kWords, sum[n][v], head_scale_ + v * kWords);
    }

    // [blocks][o][C] to [blocks][groups][C / 4][2][kWords][4]: four inputs of the outputs in a vector of
    // sums.
    void order_pointwise(const int8_t* table) {
        for (int64_t block = 0; block < sizes.blocks; ++block)
            for (int group = 0; group < groups; ++group)
                for (int vector = 0; vector < 2; ++vector)
                    for (int lane = 0; lane < kWords; ++lane) {
                        const int output = group * kShorts + output_of(vector, lane);
                        if (output >= sizes.channels) continue;
                        int8_t* const to = pointwise_ + (block * groups + group) * kShorts * channels;
                        const int8_t* const from = table + (block * sizes.channels + output) * sizes.channels;
                        for (int c = 0; c < sizes.channels; ++c)
                            to[((c / 4 * 2 + vector) * kWords + lane) * 4 + c % 4] = from[c];
                    }
    }

    // [12][C] to [C / 2][kHeadVectors][kWords][2]: two inputs of all outputs.
    void order_head(const QuantizedTables& tables) {
        for (int o = 0; o < kMoves; ++o) {
            head_scale_[o] = tables.head_scale[o];
            head_bias_[o] = tables.head_bias[o];
            for (int c = 0; c < sizes.channels; ++c)
                head_[(c / 2 * kHeadVectors * kWords + o) * 2 + c % 2] = tables.head[o * sizes.channels + c];
        }
    }

    Buffer<Number> embed_, first_layer_bias_, depthwise_, position_bias_, gain_;
    Buffer<int8_t> pointwise_;
    Buffer<Number> pointwise_gain_, pointwise_bias_, head_;
    Buffer<float> head_scale_;
    Buffer<int32_t> head_bias_;
};

}  // namespace

std::shared_ptr<const Network> network_of(const QuantizedTables& tables) {
    return std::make_shared<SeparableNetwork<Int8>>(tables);
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
