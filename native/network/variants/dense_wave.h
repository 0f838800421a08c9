// A wave through a network whose blocks are a dense 3 x 3 x 3 convolution and a pointwise one.
//
// An arithmetic A has the types Number of the stream of activations and Input of what a block's convolution
// gets, its `sizes`, the number of `channels` that a cell takes in memory, and:
// - what the first convolution needs (first_layer.h);
// - begin(numbers, inputs): a layer's Numbers after the nonlinearity, in place, and the first block's Inputs;
// - block(block, edges, near, from, hidden, to, inputs): a row's Numbers after a block, of nine rows' Inputs,
//   and the next block's Inputs but for the last one; `hidden` is memory for a row, `edges` says which of
//   the layers (times four) and rows around it there are: `edges_of`;
// - head(near, logits): a row's logits, [J][kLogits], of nine rows' Numbers.
#pragma once

#include <memory>

#include "network/engine.h"
#include "network/variants/buffer.h"
#include "network/variants/first_layer.h"
#include "network/variants/neighbours.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// Which neighbours a place has along an axis: 1 for one before it, and 2 for one behind it.
inline int edges_of(int64_t at, int64_t count) { return (at > 0) + 2 * (at + 1 < count); }

template <class A>
class DenseWave final : public Wave {
    using Number = typename A::Number;
    using Input = typename A::Input;

    const A& net_;
    const Patch patch_;
    const int blocks_;
    const int64_t row_, layer_;  // Numbers
    Buffer<Number> streams_;     // [blocks + 1][3][I][J][C]: before each block, and the head, of three layers
    Buffer<Input> inputs_;       // [blocks][3][I][J][C]
    Buffer<Number> hidden_;      // [J][C]
    Buffer<float> logits_;       // [I][J][kLogits]
    FirstLayer<A> first_layer_;

    Number* stream(int block, int64_t layer) const { return streams_ + (3 * block + layer % 3) * layer_; }
    Input* inputs(int block, int64_t layer) const { return inputs_ + (3 * block + layer % 3) * layer_; }

  public:
    DenseWave(const A& net, int held)
        : net_(net), patch_(net.sizes.patch), blocks_(net.sizes.blocks),
          row_(static_cast<int64_t>(patch_.columns) * net.channels), layer_(patch_.rows * row_),
          streams_(3 * (blocks_ + 1) * layer_), inputs_(3 * blocks_ * layer_), hidden_(row_),
          logits_(int64_t{kLogits} * patch_.cells()), first_layer_(net, held) {}

    void start() override { first_layer_.start(); }

    void put(const Detections* layer) override { first_layer_.put(layer); }

    const float* advance(int64_t step, const Experiment& experiment) override {
        const int64_t layers = experiment.layers, last = step - 2 - blocks_;
        if (step >= 1 && step - 1 < layers) {
            first_layer_(step - 1, experiment, stream(0, step - 1));
            net_.begin(stream(0, step - 1), inputs(0, step - 1));
        }
        for (int block = 0; block < blocks_; ++block) {
            const int64_t layer = step - 2 - block;
            if (layer >= 0 && layer < layers) run_block(block, layer, layers);
        }
        if (last < 0) return nullptr;
        const Number* around[3];
        for (int k = 0; k < 3; ++k)
            around[k] = inside(last + k - 1, layers) ? stream(blocks_, last + k - 1) : nullptr;
        for (int i = 0; i < patch_.rows; ++i)
            net_.head(rows_around(around, patch_, row_, i), logits_ + int64_t{kLogits} * patch_.columns * i);
        return logits_ + 0;
    }

  private:
    static bool inside(int64_t layer, int64_t layers) { return layer >= 0 && layer < layers; }

    void run_block(int block, int64_t layer, int64_t layers) {
        const Input* around[3];
        for (int k = 0; k < 3; ++k)
            around[k] = inside(layer + k - 1, layers) ? inputs(block, layer + k - 1) : nullptr;
        for (int i = 0; i < patch_.rows; ++i)
            net_.block(block, 4 * edges_of(layer, layers) + edges_of(i, patch_.rows),
                       rows_around(around, patch_, row_, i), stream(block, layer) + i * row_, hidden_ + 0,
                       stream(block + 1, layer) + i * row_,
                       block + 1 < blocks_ ? inputs(block + 1, layer) + i * row_ : nullptr);
    }
};

// A network in an arithmetic.
template <class A>
class DenseNetwork final : public Network {
    const A arithmetic_;

  public:
    template <class Tables>
    explicit DenseNetwork(const Tables& tables)
        : Network(tables.sizes, tables.sizes.blocks + 2, cpu::Variant::QECPIPE_VARIANT), arithmetic_(tables) {
    }

    std::unique_ptr<Wave> begin(int held) const override {
        return std::make_unique<DenseWave<A>>(arithmetic_, held);
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
