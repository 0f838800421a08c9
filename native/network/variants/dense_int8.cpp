// The dense network in integers: the same bits whatever the instruction set.
//
// Activations have 16 bits. Convolutions of 3 x 3 x 3 get them in 8, unsigned, with a zero that is not 0. Of
// neighbours outside the volume nothing is added, and what the zeros of all others add is taken from the bias
// of a place beforehand (tables.h says what cannot overflow).
#include <algorithm>
#include <vector>

#include "network/variants/dense_wave.h"
#include "network/variants/gelu.h"
#include "network/variants/half_lanes.h"
#include "network/variants/layouts.h"
#include "network/variants/products.h"
#include "network/variants/tiles.h"

namespace qecpipe::network::QECPIPE_VARIANT {

namespace {

using H = HalfLanes;

constexpr int kWidestCells = Lanes::kRegisters == 32 ? 7 : 4;  // three sums each, three weights and an input
constexpr int kWidestVectors = 3;
constexpr int kHeadVectors = (kMoves + kOutputs - 1) / kOutputs;
constexpr int kPlaces = 16;  // kinds of layers and rows, by the neighbours that they have
constexpr int kAlign = 16;   // channels

struct DenseInt8 {
    using Number = int16_t;
    using Input = Bytes::Input;

    const Sizes sizes;
    const int channels;  // those that are added are 0, and stay so
    const int vectors;   // of all outputs

    explicit DenseInt8(const DenseTables& tables)
        : sizes(tables.sizes), channels((sizes.channels + kAlign - 1) / kAlign * kAlign),
          vectors(channels / kOutputs), used_(tables.used, tables.used + 2 * sizes.blocks),
          gelu_(tables.unit_bits, tables.unit_bits + 1 + sizes.blocks),
          embed_(in_neighbours(tables.embed, sizes.channels, channels)),
          first_layer_bias_(rows(tables.first_layer_bias, int64_t{sizes.first_layers} * sizes.patch.cells())),
          input_gain_(rows(tables.input_gain, sizes.blocks)),
          input_zero_(rows(tables.input_zero, sizes.blocks)),
          spatial_(int64_t{sizes.blocks} * kTaps * channels * channels),
          spatial_scale_(rows(tables.spatial_scale, sizes.blocks)),
          spatial_bias_(int64_t{sizes.blocks} * kPlaces * 4 * channels),
          pointwise_(int64_t{sizes.blocks} * channels * channels),
          pointwise_scale_(rows(tables.pointwise_scale, sizes.blocks)),
          pointwise_bias_(rows(tables.pointwise_bias, sizes.blocks)),
          head_(int64_t{kTaps} * channels * kHeadVectors * kOutputs), head_scale_(kHeadVectors * kOutputs),
          head_bias_(kHeadVectors * kOutputs) {
        const int c = sizes.channels;
        for (int64_t block = 0; block < sizes.blocks; ++block) {
            order<Bytes>(tables.spatial + block * c * kTaps * c, c, kTaps, c, channels, vectors,
                         spatial_ + block * kTaps * channels * channels);
            order<Shorts>(tables.pointwise + block * c * c, c, 1, c, channels, vectors,
                          pointwise_ + block * channels * channels);
            set_spatial_bias(tables, block);
        }
        order<Shorts>(tables.head, kMoves, kTaps, c, channels, kHeadVectors, head_ + 0);
        std::copy_n(tables.head_scale, kMoves, head_scale_ + 0);
        std::copy_n(tables.head_bias, kMoves, head_bias_ + 0);
    }

    const Number* first_layer_bias(int kind) const {
        return first_layer_bias_ + int64_t{kind} * sizes.patch.cells() * channels;
    }

    const Number* embed(int detector, int near) const {
        return embed_ + (detector * 9 + near) * 3 * channels;
    }

    void add(Number* sum, const Number* numbers, int cells) const {
        for (int c = 0; c < cells * channels; c += kOutputs)
            H::store(sum + c, H::add_saturated(H::load(sum + c), H::load(numbers + c)));
    }

    void begin(Number* numbers, Input* inputs) const {
        const Gelu& gelu = gelu_[0];
        for (int cell = 0; cell < sizes.patch.cells(); ++cell, numbers += channels, inputs += channels)
            for (int c = 0; c < channels; c += kOutputs) {
                const H::Half x = gelu(H::load(numbers + c));
                H::store(numbers + c, x);
                put_input(0, c, x, inputs + c);
            }
    }

    void block(int block, int edges, const Rows<Input>& near, const Number* from, Number* hidden, Number* to,
               Input* inputs) const {
        const int hidden_vectors = (used_[2 * block + 1] + kOutputs - 1) / kOutputs;
        for_each_tile<kWidestCells>(near.columns, [&](int first, auto cells) {
            constexpr int kCells = decltype(cells)::value;
            for_each_tile<kWidestVectors>(hidden_vectors, [&](int vector, auto width) {
                spatial<kCells, decltype(width)::value>(block, edges, vector, near, first, hidden);
            });
            for_each_tile<kWidestVectors>(vectors, [&](int vector, auto width) {
                pointwise<kCells, decltype(width)::value>(block, vector, first, from, hidden, to, inputs);
            });
        });
    }

    void head(const Rows<Number>& near, float* logits) const {
        constexpr int64_t kStep = kHeadVectors * sizeof(Lanes::Vector);
        const int steps = channels / kInputs<Shorts>;
        for_each_tile<kWidestCells>(near.columns, [&](int first, auto cells) {
            constexpr int kCells = decltype(cells)::value;
            Lanes::Vector sum[kCells][kHeadVectors];
            for (int n = 0; n < kCells; ++n)
                for (int v = 0; v < kHeadVectors; ++v) sum[n][v] = Lanes::load(head_bias_ + v * kOutputs);
            add_convolution<Shorts>(sum, near, first, channels,
                                    Kernel{bytes(head_ + 0), steps, kStep, steps * kStep});
            for (int n = 0; n < kCells; ++n)
                for (int v = 0; v < kHeadVectors; ++v)
                    Lanes::put_floats(logits + (first + n) * kLogits + v * kOutputs, sum[n][v],
                                      head_scale_ + v * kOutputs);
        });
    }

  private:
    template <class T>
    static const char* bytes(const T* weights) {
        return reinterpret_cast<const char*>(weights);
    }

    template <class T>
    Buffer<T> rows(const T* table, int64_t count) const {
        return in_rows(table, count, sizes.channels, channels);
    }

    void put_input(int block, int c, H::Half x, Input* to) const {
        const int64_t at = int64_t{block} * channels + c;
        H::put_input(to,
                     H::add_saturated(H::scaled(x, H::load(input_gain_ + at)), H::load(input_zero_ + at)));
    }

    // Hidden activations of some columns, and outputs from `vector` on.
    template <int kCells, int kVectors>
    void spatial(int block, int edges, int vector, const Rows<Input>& near, int first, Number* hidden) const {
        const int64_t step = vectors * sizeof(Lanes::Vector), tap = channels / kInputs<Bytes> * step;
        const int32_t* const bias =
            spatial_bias_ + (int64_t{block} * kPlaces + edges) * 4 * channels + vector * kOutputs;
        Lanes::Vector sum[kCells][kVectors];
        for (int n = 0; n < kCells; ++n) {
            const int32_t* const here = bias + int64_t{edges_of(first + n, near.columns)} * channels;
            for (int v = 0; v < kVectors; ++v) sum[n][v] = Lanes::load(here + v * kOutputs);
        }
        const Kernel kernel{
            bytes(spatial_ + block * (kTaps * channels * channels)) + vector * sizeof(Lanes::Vector),
            (used_[2 * block] + kInputs<Bytes> - 1) / kInputs<Bytes>, step, tap};
        add_convolution<Bytes>(sum, near, first, channels, kernel);
        const Gelu& gelu = gelu_[1 + block];
        for (int v = 0; v < kVectors; ++v) {
            const int c = (vector + v) * kOutputs;
            const float* const scale = spatial_scale_ + int64_t{block} * channels + c;
            for (int n = 0; n < kCells; ++n)
                H::store(hidden + int64_t{first + n} * channels + c, gelu(H::of_words(sum[n][v], scale)));
        }
    }

    // What a block adds to the stream, at some columns, and channels from `vector` on.
    template <int kCells, int kVectors>
    void pointwise(int block, int vector, int first, const Number* from, const Number* hidden, Number* to,
                   Input* inputs) const {
        Lanes::Vector sum[kCells][kVectors];
        const int64_t offset = int64_t{block} * channels + vector * kOutputs;
        for (int n = 0; n < kCells; ++n)
            for (int v = 0; v < kVectors; ++v)
                sum[n][v] = Lanes::load(pointwise_bias_ + offset + v * kOutputs);
        add_products<Shorts, 0, kCells>(
            sum, hidden + int64_t{first} * channels, channels,
            (used_[2 * block + 1] + kInputs<Shorts> - 1) / kInputs<Shorts>,
            bytes(pointwise_ + int64_t{block} * channels * channels) + vector * sizeof(Lanes::Vector),
            vectors * sizeof(Lanes::Vector));
        for (int v = 0; v < kVectors; ++v) {
            const int c = (vector + v) * kOutputs;
            const float* const scale = pointwise_scale_ + offset + v * kOutputs;
            for (int n = 0; n < kCells; ++n) {
                const int64_t at = int64_t{first + n} * channels + c;
                const H::Half x = H::add_saturated(H::load(from + at), H::of_words(sum[n][v], scale));
                H::store(to + at, x);
                if (inputs) put_input(block + 1, c, x, inputs + at);
            }
        }
    }

    // Biases [4 layers' edges][4 rows'][4 columns'][C], less what the zeros of the inputs there add.
    void set_spatial_bias(const DenseTables& tables, int64_t block) {
        const int c = sizes.channels;
        const auto counts = [](int edges, int d) { return d == 1 || (d == 0 ? edges & 1 : edges & 2); };
        for (int o = 0; o < c; ++o) {
            int32_t zeros[kTaps] = {};
            for (int tap = 0; tap < kTaps; ++tap)
                for (int in = 0; in < c; ++in)
                    zeros[tap] += int32_t{tables.spatial[((block * c + o) * kTaps + tap) * c + in]} *
                                  tables.input_zero[block * c + in];
            for (int place = 0; place < 4 * kPlaces; ++place) {
                int32_t bias = tables.spatial_bias[block * c + o];
                for (int tap = 0; tap < kTaps; ++tap)
                    if (counts(place >> 4, tap / 9) && counts(place >> 2 & 3, tap / 3 % 3) &&
                        counts(place & 3, tap % 3))
                        bias -= zeros[tap];
                spatial_bias_[(block * 4 * kPlaces + place) * channels + o] = bias;
            }
        }
    }

    const std::vector<int32_t> used_;  // [blocks][2]
    const std::vector<Gelu> gelu_;     // [1 + blocks]
    Buffer<Number> embed_, first_layer_bias_, input_gain_, input_zero_;
    Buffer<Bytes::Weight> spatial_;  // [blocks][27][C][C]
    Buffer<float> spatial_scale_;
    Buffer<int32_t> spatial_bias_;  // [blocks][kPlaces][4][C]
    Buffer<Number> pointwise_;      // [blocks][C][C]
    Buffer<float> pointwise_scale_;
    Buffer<int32_t> pointwise_bias_;
    Buffer<Number> head_;  // [27][C][kHeadVectors * kOutputs]
    Buffer<float> head_scale_;
    Buffer<int32_t> head_bias_;
};

}  // namespace

std::shared_ptr<const Network> network_of(const DenseTables& tables) {
    return std::make_shared<DenseNetwork<DenseInt8>>(tables);
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
