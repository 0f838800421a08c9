// The separable network in float32.
#include "network/variants/float_lanes.h"
#include "network/variants/layouts.h"
#include "network/variants/stencil.h"
#include "network/variants/tiles.h"
#include "network/variants/wave.h"

namespace qecpipe::network::QECPIPE_VARIANT {

namespace {

using Vector = FloatLanes::Vector;

constexpr int kFloats = FloatLanes::kFloats, kPair = 2 * kFloats;
constexpr int kWidestProduct =
    FloatLanes::kRegisters == 32 ? 8 : 5;  // two sums each, two weights and a value
constexpr int kHeadOutputs = (kMoves + kPair - 1) / kPair * kPair;

struct Float {
    using Number = float;
    using Hidden = float;

    const Sizes sizes;
    const int channels;  // pairs of vectors: those that are added are 0, and stay so
    const int groups;    // of kPair channels

    explicit Float(const FloatTables& tables)
        : sizes(tables.sizes), channels((sizes.channels + kPair - 1) / kPair * kPair),
          groups(channels / kPair), embed_(in_neighbours(tables.embed, sizes.channels, channels)),
          first_layer_bias_(rows(tables.first_layer_bias, int64_t{sizes.first_layers} * sizes.patch.cells())),
          depthwise_(in_taps(tables.depthwise, sizes.blocks, sizes.channels, channels, kFloats)),
          position_bias_(
              rows(tables.position_bias, int64_t{sizes.blocks} * sizes.positions * sizes.patch.cells())),
          pointwise_(int64_t{sizes.blocks} * channels * channels),
          pointwise_bias_(rows(tables.pointwise_bias, sizes.blocks)), head_(int64_t{kHeadOutputs} * channels),
          head_bias_(kHeadOutputs) {
        for (int64_t block = 0; block < sizes.blocks; ++block)
            order(tables.pointwise + block * sizes.channels * sizes.channels, sizes.channels,
                  pointwise_ + block * channels * channels);
        order(tables.head, kMoves, head_ + 0);
        std::copy_n(tables.head_bias, kMoves, head_bias_ + 0);
    }

    const Number* first_layer_bias(int kind) const {
        return first_layer_bias_ + int64_t{kind} * sizes.patch.cells() * channels;
    }

    const Number* embed(int detector, int near) const {
        return embed_ + (detector * 9 + near) * 3 * channels;
    }

    void add(Number* sum, const Number* numbers, int cells) const {
        for (int c = 0; c < cells * channels; c += kFloats)
            FloatLanes::store(sum + c,
                              FloatLanes::add(FloatLanes::load(sum + c), FloatLanes::load(numbers + c)));
    }

    void relu(Number* numbers, int cells) const {
        const int64_t size = static_cast<int64_t>(cells) * channels;
        for (int64_t c = 0; c < size; c += kFloats)
            FloatLanes::store(numbers + c, FloatLanes::positive(FloatLanes::load(numbers + c)));
    }

    QECPIPE_FLATTEN void depthwise(int block, int kind, const Layers<Number>& near, Hidden* hidden) const {
        const int64_t cell = (int64_t{block} * sizes.positions + kind) * sizes.patch.cells();
        const int64_t step = channels;  // stores may change any member, for all that the compiler knows
        const Number* const bias = position_bias_ + cell * step;
        convolve<FloatLanes, kFloats>(
            near, depthwise_ + block * step * kTaps,
            [&](int channel, int64_t at) { return FloatLanes::load(bias + at * step + channel); },
            [&](int channel, int64_t at, Vector sum) {
                FloatLanes::store(hidden + at * step + channel, FloatLanes::positive(sum));
            });
    }

    void pointwise(int block, const Number* from, const Hidden* hidden, Number* to) const {
        for_each_tile<kWidestProduct>(sizes.patch.cells(), [&](int first, auto width) {
            constexpr int kCells = decltype(width)::value;
            for (int group = 0; group < groups; ++group) {
                const int64_t table = int64_t{block} * groups + group, at = int64_t{first} * channels;
                Vector sum[kCells][2];
                product<kCells>(sum, pointwise_ + table * kPair * channels, pointwise_bias_ + table * kPair,
                                hidden + at);
                for (int n = 0; n < kCells; ++n)
                    for (int half = 0; half < 2; ++half) {
                        const int64_t here = at + int64_t{n} * channels + group * kPair + half * kFloats;
                        FloatLanes::store(to + here,
                                          FloatLanes::add(FloatLanes::load(from + here), sum[n][half]));
                    }
            }
        });
    }

    void head(const Number* numbers, float* logits) const {
        for_each_tile<kWidestProduct>(sizes.patch.cells(), [&](int first, auto width) {
            constexpr int kCells = decltype(width)::value;
            for (int o = 0; o < kHeadOutputs; o += kPair) {
                Vector sum[kCells][2];
                product<kCells>(sum, head_ + int64_t{o} * channels, head_bias_ + o,
                                numbers + int64_t{first} * channels);
                for (int n = 0; n < kCells; ++n)
                    for (int half = 0; half < 2; ++half) {
                        const int output = o + half * kFloats;
                        if (output < kMoves)
                            FloatLanes::store(logits + (first + n) * kLogits + output, sum[n][half]);
                    }
            }
        });
    }

  private:
    Buffer<Number> rows(const Number* table, int64_t count) const {
        return in_rows(table, count, sizes.channels, channels);
    }

    // kPair outputs of a matrix product, of some cells: bias[o] + the sum over c of weights[c][o] numbers[c].
    template <int kCells>
    void product(Vector (&sum)[kCells][2], const Number* weights, const Number* bias,
                 const Number* numbers) const {
        for (int n = 0; n < kCells; ++n)
            for (int half = 0; half < 2; ++half) sum[n][half] = FloatLanes::load(bias + half * kFloats);
        for (int c = 0; c < channels; ++c, weights += kPair) {
            const Vector low = FloatLanes::load(weights), high = FloatLanes::load(weights + kFloats);
#pragma GCC unroll 8
            for (int n = 0; n < kCells; ++n) {
                const Vector x = FloatLanes::broadcast(numbers[int64_t{n} * channels + c]);
                FloatLanes::accumulate(x, low, sum[n][0]);
                FloatLanes::accumulate(x, high, sum[n][1]);
            }
        }
    }

    // [o][C] to [o / kPair][C][kPair].
    void order(const Number* table, int outputs, Number* to) const {
        for (int64_t o = 0; o < outputs; ++o)
            for (int c = 0; c < sizes.channels; ++c)
                to[(o - o % kPair) * channels + c * kPair + o % kPair] = table[o * sizes.channels + c];
    }

    Buffer<Number> embed_, first_layer_bias_, depthwise_, position_bias_, pointwise_, pointwise_bias_, head_,
        head_bias_;
};

}  // namespace

std::shared_ptr<const Network> network_of(const FloatTables& tables) {
    return std::make_shared<SeparableNetwork<Float>>(tables);
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
