// A wave through a network whose blocks are a depthwise and a pointwise convolution, whatever its arithmetic.
//
// An arithmetic A has the types Number of the stream of activations and Hidden of what is between the two
// convolutions of a block, its `sizes`, the number of `channels` that a cell takes in memory, and:
// - first_layer_bias(kind): Numbers of all cells;
// - embed(detector, near): what a detection adds to three cells of one of the nine rows around it;
// - add(sum, numbers, cells), relu(numbers, cells): of some cells;
// - depthwise(block, kind, near, hidden): a layer's hidden activations of the Numbers of three;
// - pointwise(block, from, hidden, to): a layer's Numbers after a block;
// - head(numbers, logits): a layer's logits, [I][J][kLogits].
#pragma once

#include <algorithm>
#include <bit>
#include <memory>

#include "network/engine.h"
#include "network/variants/buffer.h"
#include "network/variants/stencil.h"

namespace qecpipe::network::QECPIPE_VARIANT {

template <class A>
class SeparableWave final : public Wave {
    using Number = typename A::Number;
    using Hidden = typename A::Hidden;

    // A detection in a row: which detector of its cell, and the cell's column.
    struct Event {
        int16_t detector, column;
    };

    const A& net_;
    const Patch patch_;
    const int blocks_, kept_;    // layers of detections
    const int64_t row_, layer_;  // Numbers
    Buffer<Number> streams_;     // [blocks][3][I][J][C]: before each block, of three layers
    Buffer<Number> last_;        // [I][J][C]
    Buffer<Hidden> hidden_;      // [I][J][C]
    Buffer<float> logits_;       // [I][J][kLogits]
    Buffer<Event> events_;       // [kept][I][4 J]
    Buffer<int32_t> counts_;     // [kept][I]
    int64_t layers_put_ = 0;

    Number* stream(int block, int64_t layer) const { return streams_ + (3 * block + layer % 3) * layer_; }

  public:
    SeparableWave(const A& net, int held)
        : net_(net), patch_(net.sizes.patch), blocks_(net.sizes.blocks), kept_(3 + held),
          row_(static_cast<int64_t>(patch_.columns) * net.channels), layer_(patch_.rows * row_),
          streams_(3 * blocks_ * layer_), last_(layer_), hidden_(layer_),
          logits_(int64_t{kLogits} * patch_.cells()), events_(int64_t{kept_} * patch_.cells() * kDetectors),
          counts_(int64_t{kept_} * patch_.rows) {}

    void start() override { layers_put_ = 0; }

    void put(const Detections* layer) override {
        const int64_t slot = layers_put_++ % kept_;
        for (int i = 0; i < patch_.rows; ++i) {
            Event* const first = events_ + (slot * patch_.rows + i) * kDetectors * patch_.columns;
            Event* event = first;
            for (int16_t detector = 0; detector < kDetectors; ++detector)
                for (int word = 0; word < patch_.words(); ++word)
                    for (Detections bits = *layer++; bits; bits &= bits - 1)
                        *event++ = {detector, static_cast<int16_t>(64 * word + std::countr_zero(bits))};
            counts_[slot * patch_.rows + i] = static_cast<int32_t>(event - first);
        }
    }

    const float* advance(int64_t step, const Experiment& experiment) override {
        if (step < 1) return nullptr;
        const int64_t layers = experiment.layers;
        if (step - 1 < layers) embed(step - 1, layers, experiment.at(step - 1).first_layer);
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
    // The first convolution.
    void embed(int64_t layer, int64_t layers, int kind) {
        Number* const to = stream(0, layer);
        std::copy_n(net_.first_layer_bias(kind), layer_, to);
        for (int64_t from = std::max<int64_t>(layer - 1, 0); from < std::min(layer + 2, layers); ++from) {
            const int64_t slot = from % kept_ * patch_.rows;
            for (int row = 0; row < patch_.rows; ++row) {
                if (!counts_[slot + row]) continue;
                const int last = std::min(row + 1, patch_.rows - 1);
                for (int i = std::max(row - 1, 0); i <= last; ++i)
                    add_events(slot + row, static_cast<int>(from - layer + 1) * 3 + row - i + 1,
                               to + i * row_);
            }
        }
        net_.relu(to, patch_.cells());
    }

    // Adds what the detections of one row, `at` of those that are kept, add to another, `near` of nine.
    void add_events(int64_t at, int near, Number* to) {
        const Event* event = events_ + at * kDetectors * patch_.columns;
        for (const Event* const end = event + counts_[at]; event < end; ++event) {
            const int first = std::max(event->column - 1, 0),
                      last = std::min(event->column + 1, patch_.columns - 1);
            const Number* const numbers =
                net_.embed(event->detector, near) + (first - event->column + 1) * net_.channels;
            net_.add(to + static_cast<int64_t>(first) * net_.channels, numbers, last - first + 1);
        }
    }

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
        : Network(tables.sizes, cpu::Variant::QECPIPE_VARIANT), arithmetic_(tables) {}

    std::unique_ptr<Wave> begin(int held) const override {
        return std::make_unique<SeparableWave<A>>(arithmetic_, held);
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
