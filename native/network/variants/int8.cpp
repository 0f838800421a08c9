// The separable network in integers: the same bits whatever the instruction set.
//
// The stream of activations has 16 bits; hidden activations, never negative, have 7; weights have 16 bits in the
// stencils and the head, and 8 in the pointwise convolution (tables.h says what cannot overflow).
#include "network/variants/lanes.h"
#include "network/variants/stencil.h"
#include "network/variants/tiles.h"
#include "network/variants/wave.h"

namespace qecpipe::network::QECPIPE_VARIANT {

namespace {

using Vector = Lanes::Vector;

constexpr int kShorts = Lanes::kShorts, kWords = kShorts / 2;
constexpr int kVectorBytes = 2 * kShorts;
constexpr int kWidestMix = Lanes::kRegisters == 32 ? 8 : 5;    // two sums each, two weights and a value
constexpr int kHeadVectors = (kMoves + kWords - 1) / kWords;
constexpr int kWidestHead = Lanes::kRegisters == 32 ? 8 : 4;

struct Int8 {
    using Number = int16_t;
    using Hidden = uint8_t;

    const Sizes sizes;
    const int channels;  // whole chunks: those that are added are 0, and stay so
    const int groups;    // of kShorts channels

    explicit Int8(const QuantizedTables& tables)
        : sizes(tables.sizes), channels((sizes.channels + kChunk - 1) / kChunk * kChunk), groups(channels / kShorts),
          embed_(padded(tables.embed, kDetectors * kTaps)),
          first_layer_bias_(padded(tables.first_layer_bias, int64_t{sizes.first_layers} * sizes.patch.cells())),
          depthwise_(int64_t{sizes.blocks} * channels * kTaps),
          position_bias_(padded(tables.position_bias, int64_t{sizes.blocks} * sizes.positions * sizes.patch.cells())),
          gain_(padded(tables.gain, sizes.blocks)), pointwise_(int64_t{sizes.blocks} * channels * channels),
          pointwise_gain_(padded(tables.pointwise_gain, sizes.blocks)),
          pointwise_bias_(padded(tables.pointwise_bias, sizes.blocks)), head_(int64_t{kHeadVectors} * kShorts * channels / 2),
          head_scale_(kHeadVectors * kWords), head_bias_(kHeadVectors * kWords) {
        order_depthwise(tables.depthwise);
        order_pointwise(tables.pointwise);
        order_head(tables);
    }

    const Number* first_layer_bias(int kind) const {
        return first_layer_bias_ + int64_t{kind} * sizes.patch.cells() * channels;
    }

    const Number* embed(int detector, int tap) const { return embed_ + (detector * kTaps + tap) * channels; }

    void add(Number* sum, const Number* numbers) const {
        for (int c = 0; c < channels; c += kShorts)
            Lanes::store(sum + c, Lanes::add_saturated(Lanes::load(sum + c), Lanes::load(numbers + c)));
    }

    void relu(Number* numbers, int cells) const {
        const int64_t size = static_cast<int64_t>(cells) * channels;
        for (int64_t c = 0; c < size; c += kShorts) Lanes::store(numbers + c, Lanes::positive(Lanes::load(numbers + c)));
    }

    void depthwise(int block, int kind, int row, const Rows<Number>& near, Hidden* hidden) const {
        const int64_t cell = (int64_t{block} * sizes.positions + kind) * sizes.patch.cells() + row * near.columns;
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
        for_each_tile<kWidestMix>(sizes.patch.cells(), [&](int first, auto width) {
            const int64_t at = int64_t{first} * channels;
            for (int group = 0; group < groups; ++group)
                mix<decltype(width)::value>(block, group, from + at, hidden + at, to + at);
        });
    }

    void head(const Number* numbers, float* logits) const {
        for_each_tile<kWidestHead>(sizes.patch.cells(), [&](int first, auto width) {
            read_out<decltype(width)::value>(numbers + int64_t{first} * channels, logits + first * kLogits);
        });
    }

private:
    // A 3 x 3 x 3 stencil's hidden activations of some columns; `at` is the first one's place in each row.
    template <int kColumns>
    void stencil(const Rows<Number>& near, int64_t at, int first, const Number* taps, const Number* bias, Vector gain,
                 Hidden* hidden) const {
        Vector sum[kColumns];
        for (int j = 0; j < kColumns; ++j) sum[j] = Lanes::zero();
        add_stencil<kColumns, Lanes, kShorts>(sum, near, at, first, channels, taps);
        for (int j = 0; j < kColumns; ++j) {
            const int64_t cell = int64_t{j} * channels;
            Lanes::put_hidden(hidden + cell, Lanes::scaled(Lanes::add_saturated(sum[j], Lanes::load(bias + cell)), gain));
        }
    }

    // kShorts outputs of the pointwise convolution of some cells, scaled and added to the stream.
    template <int kCells>
    void mix(int block, int group, const Number* from, const Hidden* hidden, Number* to) const {
        const int8_t* weights = pointwise_ + (int64_t{block} * groups + group) * kShorts * channels;
        Vector total[kCells][2];
        for (int n = 0; n < kCells; ++n) total[n][0] = total[n][1] = Lanes::zero();
        for (int chunk = 0; chunk < channels; chunk += kChunk) {
            Vector sum[kCells][2];
            for (int n = 0; n < kCells; ++n) sum[n][0] = sum[n][1] = Lanes::zero();
#pragma GCC unroll 8
            for (int k = chunk; k < chunk + kChunk; k += 4) {
                const Vector low = Lanes::load(weights), high = Lanes::load(weights + kVectorBytes);
                weights += 2 * kVectorBytes;
#pragma GCC unroll 8
                for (int n = 0; n < kCells; ++n) {
                    const Vector x = Lanes::broadcast(hidden + int64_t{n} * channels + k);
                    sum[n][0] = Lanes::dot(sum[n][0], x, low);
                    sum[n][1] = Lanes::dot(sum[n][1], x, high);
                }
            }
            for (int n = 0; n < kCells; ++n)
                for (int half = 0; half < 2; ++half) {
                    const Vector words = Lanes::widened(sum[n][half]);
                    total[n][half] = chunk ? Lanes::cut_words(Lanes::add_words(total[n][half], words)) : words;
                }
        }
        const int64_t offset = int64_t{block} * channels + group * kShorts;
        const Vector gain = Lanes::load(pointwise_gain_ + offset), bias = Lanes::load(pointwise_bias_ + offset);
        for (int n = 0; n < kCells; ++n) {
            const Vector step =
                Lanes::add_saturated(Lanes::scaled(Lanes::packed(total[n][0], total[n][1]), gain), bias);
            const int64_t at = int64_t{n} * channels + group * kShorts;
            Lanes::store(to + at, Lanes::add_saturated(Lanes::load(from + at), step));
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

    // [rows][C] with zeros after each row's channels.
    Buffer<Number> padded(const Number* table, int64_t rows) const {
        Buffer<Number> copy(rows * channels);
        for (int64_t row = 0; row < rows; ++row)
            std::copy_n(table + row * sizes.channels, sizes.channels, copy + row * channels);
        return copy;
    }

    // [blocks][C][27] to [blocks][groups][27][kShorts].
    void order_depthwise(const Number* table) {
        for (int64_t block = 0; block < sizes.blocks; ++block)
            for (int c = 0; c < sizes.channels; ++c)
                for (int tap = 0; tap < kTaps; ++tap)
                    depthwise_[((block * groups + c / kShorts) * kTaps + tap) * kShorts + c % kShorts] =
                        table[(block * sizes.channels + c) * kTaps + tap];
    }

    // [blocks][o][C] to [blocks][groups][C / 4][2][kWords][4]: four inputs of the outputs in a vector of sums.
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

std::shared_ptr<const Network> quantized_network(const QuantizedTables& tables) {
    return std::make_shared<SeparableNetwork<Int8>>(tables);
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
