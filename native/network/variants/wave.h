// A wave through a network whose blocks are a depthwise and a pointwise convolution, whatever its arithmetic.
//
// An arithmetic A has the types Number of the stream of activations and Hidden of what is between the two
// convolutions of a block, its `sizes`, the number of `channels` that a cell takes in memory, and:
// - what the first convolution needs (first_layer.h), and relu(numbers, cells), of some cells;
// - depthwise(block, kind, near, hidden): a layer's hidden activations of the Numbers of three;
// - pointwise(block, from, hidden, to): a layer's Numbers after a block;
// - head(numbers, logits): a layer's logits, [I][J][kLogits].
#pragma once

#include <algorithm>
#include <memory>

#include "network/engine.h"
#include "network/variants/buffer.h"
#include "network/variants/first_layer.h"
#include "network/variants/stencil.h"

namespace qecpipe::network::QECPIPE_VARIANT {

template <class A>
class SeparableWave final : public Wave {
    using Number = typename A::Number;
    using Hidden = typename A::Hidden;

    const A& net_;
    const Patch patch_;
    const int blocks_;
    const int64_t row_, layer_;  // Numbers
    Buffer<Number> streams_;     // [blocks][3][I][J][C]: before each block, of three layers
    Buffer<Number> last_;        // [I][J][C]
    Buffer<Hidden> hidden_;      // [I][J][C]
    Buffer<float> logits_;       // [I][J][kLogits]
    FirstLayer<A> first_layer_;

    Number* stream(int block, int64_t layer) const { return streams_ + (3 * block + layer % 3) * layer_; }

  public:
    SeparableWave(const A& net, int held)
        : net_(net), patch_(net.sizes.patch), blocks_(net.sizes.blocks),
          row_(static_cast<int64_t>(patch_.columns) * net.channels), layer_(patch_.rows * row_),
          streams_(3 * blocks_ * layer_), last_(layer_), hidden_(layer_),
          logits_(int64_t{kLogits} * patch_.cells()), first_layer_(net, held) {}

    void start() override { first_layer_.start(); }

    void put(const Detections* layer) override { first_layer_.put(layer); }

    const float* advance(int64_t step, const Experiment& experiment) override {
        if (step < 1) return nullptr;
        const int64_t layers = experiment.layers;
        if (step - 1 < layers) {
            first_layer_(step - 1, experiment, stream(0, step - 1));
            net_.relu(stream(0, step - 1), patch_.cells());
        }
        for (int block = 0; block < blocks_; ++block) {
            const int64_t layer = step - 2 - block;
            if (layer < 0) return nullptr;
            if (layer < layers) run_block(block, layer, layers, experiment.at(layer).position);
        }
        if (step - 1 - blocks_ < 0) return nullptr;
        net_.head(blocks_ ? last_ + 0 : stream(0, step - 1), logits_ + 0);
        return logits_ + 0;
    }

  private:
    void run_block(int block, int64_t layer, int64_t layers, int kind) {
        Layers<Number> near{{}, patch_, net_.channels};
        for (int k = 0; k < 3; ++k) {
            const int64_t from = layer + k - 1;
            near.start[k] = from < 0 || from >= layers ? nullptr : stream(block, from);
        }
        net_.depthwise(block, kind, near, hidden_ + 0);
        net_.pointwise(block, near.start[1], hidden_ + 0,
                       block + 1 < blocks_ ? stream(block + 1, layer) : last_ + 0);
    }
};

// A network in an arithmetic.
template <class A>
class SeparableNetwork final : public Network {
    const A arithmetic_;

  public:
    template <class Tables>
    explicit SeparableNetwork(const Tables& tables)
        : Network(tables.sizes, tables.sizes.blocks + 1, cpu::Variant::QECPIPE_VARIANT), arithmetic_(tables) {
    }

    std::unique_ptr<Wave> begin(int held) const override {
        return std::make_unique<SeparableWave<A>>(arithmetic_, held);
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
