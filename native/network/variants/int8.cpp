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
constexpr bool kPairsOfGroups = kShorts < kChunk;  // of kShorts channels: always an even number of them
// Cells whose sums of kGroups x kShorts outputs fit registers, with weights, a value, a product and a spare.
template <int kGroups>
constexpr int kWidestMix =
    std::min(8, (Lanes::kRegisters - kGroups * Lanes::kSums - 3) / (kGroups * Lanes::kSums));
constexpr int kUnrolled = Lanes::kRegisters == 32 ? 8 : 1;  // GCC spills more than that saves
constexpr int kHeadVectors = (kMoves + kWords - 1) / kWords;
constexpr int kWidestHead = Lanes::kRegisters == 32 ? 8 : 4;

struct Int8 {
    using Number = int16_t;
    using Hidden = Lanes::Hidden;

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

    QECPIPE_FLATTEN void depthwise(int block, int kind, const Layers<Number>& near, Hidden* hidden) const {
        const int64_t cell = (int64_t{block} * sizes.positions + kind) * sizes.patch.cells();
        const int64_t step = channels;  // stores may change any member, for all that the compiler knows
        const Number *const bias = position_bias_ + cell * step, *const gain = gain_ + block * step;
        convolve<Lanes, kShorts>(
            near, depthwise_ + block * step * kTaps, [](int, int64_t) { return Lanes::zero(); },
            [&](int channel, int64_t at, Vector sum) {
                const int64_t here = at * step + channel;
                const Vector biased = Lanes::add_saturated(sum, Lanes::load(bias + here));
                Lanes::put_hidden(hidden + here, Lanes::scaled(biased, Lanes::load(gain + channel)));
            });
    }

    void pointwise(int block, const Number* from, const Hidden* hidden, Number* to) const {
        if (channels > Lanes::kExactInputs) mix_groups<kPairsOfGroups ? 2 : 1, true>(block, from, hidden, to);
        else if (kPairsOfGroups || groups % 2 == 0) mix_groups<2, false>(block, from, hidden, to);
        else mix_groups<1, false>(block, from, hidden, to);
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

    template <int kGroups, bool kLong>
    void mix_groups(int block, const Number* from, const Hidden* hidden, Number* to) const {
        for_each_tile<kWidestMix<kGroups>>(sizes.patch.cells(), [&](int first, auto width) {
            const int64_t at = int64_t{first} * channels;
            for (int group = 0; group < groups; group += kGroups)
                mix<decltype(width)::value, kGroups, kLong>(block, group, from + at, hidden + at, to + at);
        });
    }

    // kGroups of kShorts outputs of the pointwise convolution of some cells, scaled and added to the stream.
    // kLong: of more than kExactInputs inputs.
    template <int kCells, int kGroups, bool kLong>
    QECPIPE_FLATTEN void mix(int block, int group, const Number* from, const Hidden* hidden,
                             Number* to) const {
        const int64_t output = int64_t{group} * kShorts, offset = int64_t{block} * channels + output;
        const int8_t* weights[kGroups];
        for (int g = 0; g < kGroups; ++g) weights[g] = pointwise_ + (offset + g * kShorts) * channels;
        const auto finish = [&](auto k, Vector sum) {
            constexpr int n = k / kGroups, g = k % kGroups * kShorts;
            const Vector gain = Lanes::load(pointwise_gain_ + offset + g),
                         bias = Lanes::load(pointwise_bias_ + offset + g);
            const Vector step = Lanes::add_saturated(Lanes::scaled(sum, gain), bias);
            const int64_t at = int64_t{n} * channels + output + g;
            Lanes::store(to + at, Lanes::add_saturated(Lanes::load(from + at), step));
        };
        if constexpr (kLong) {
            Vector total[kCells * kGroups];
            unrolled<kCells * kGroups>([&](auto k) { total[k] = Lanes::zero(); });
            for (int c = 0; c < channels; c += kChunk)
                sum_inputs<kCells, kGroups>(kChunk, weights, hidden + c, [&](auto k, Vector sum) {
                    total[k] = Lanes::add_saturated(total[k], sum);
                });
            unrolled<kCells * kGroups>([&](auto k) { finish(k, total[k]); });
        } else {
            constexpr bool kOneChunk = Lanes::kExactInputs == kChunk;
            sum_inputs<kCells, kGroups>(kOneChunk ? kChunk : channels, weights, hidden, finish);
        }
    }

    // Adds up the products of some inputs of some cells with their weights, which are moved on, and calls
    // visit(std::integral_constant<int, cell * kGroups + group>(), sum).
    template <int kCells, int kGroups, class Visitor>
    [[gnu::always_inline]] void sum_inputs(int inputs, const int8_t* (&weights)[kGroups],
                                           const Hidden* hidden, Visitor visit) const {
        constexpr int kSums = Lanes::kSums, kRow = kGroups * kSums;
        Vector sum[kCells * kRow];
        unrolled<kCells * kRow>([&](auto k) { sum[k] = Lanes::zero(); });
#pragma GCC unroll kUnrolled
        for (int c = 0; c < inputs; c += Lanes::kInputs) {
            Vector w[kRow];
            unrolled<kRow>(
                [&](auto s) { w[s] = Lanes::load(weights[s / kSums] + s % kSums * kVectorBytes); });
            unrolled<kGroups>([&](auto g) { weights[g] += kSums * kVectorBytes; });
            unrolled<kCells>([&](auto n) {
                const Vector x = Lanes::broadcast(hidden + int64_t{n} * channels + c);
                unrolled<kRow>([&](auto s) { sum[n * kRow + s] = Lanes::dot(sum[n * kRow + s], x, w[s]); });
            });
        }
        unrolled<kCells * kGroups>([&](auto k) { visit(k, Lanes::outputs(sum + kSums * k)); });
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

    // [blocks][o][C] to [blocks][groups][C / kInputs][kSums][lanes][kInputs]: some inputs of the outputs in a
    // vector of sums.
    void order_pointwise(const int8_t* table) {
        constexpr int kSums = Lanes::kSums, kLanes = kShorts / kSums, kInputs = Lanes::kInputs;
        for (int64_t block = 0; block < sizes.blocks; ++block)
            for (int group = 0; group < groups; ++group)
                for (int vector = 0; vector < kSums; ++vector)
                    for (int lane = 0; lane < kLanes; ++lane) {
                        const int output = group * kShorts + output_of(vector, lane);
                        if (output >= sizes.channels) continue;
                        int8_t* const to = pointwise_ + (block * groups + group) * kShorts * channels;
                        const int8_t* const from = table + (block * sizes.channels + output) * sizes.channels;
                        for (int c = 0; c < sizes.channels; ++c)
                            to[((c / kInputs * kSums + vector) * kLanes + lane) * kInputs + c % kInputs] =
                                from[c];
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
