// Networks on a patch: layers of detections in, logits of every move out, in one pass over time.
//
// The networks here have cells of 2 x 2 ancillas in single layers. A layer of detections travels through all
// blocks before the next one is needed, so that a whole shot and a stream of layers are one computation with
// the same bits, and the memory of a shot does not grow with its rounds. Vectors hold channels: one shot is
// computed as fast as many, one after another.
//
// - Network: weights with the biases of one patch and its noise, in an instruction set's order; immutable.
// - Wave: the activations of one experiment on its way through a network.
// - Timeline: which of a network's biases each layer of an experiment has.
// - Engine: whole shots of a fixed number of layers, bit-packed, to logits in the order of `MoveSet`.
// - LayerStream: experiments whose length is known when their last layer comes.
//
// Shape legend: T layers, I rows and J columns of cells, C channels, o channels out.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/cpu.h"
#include "network/tables.h"
#include "network/timeline.h"

namespace qecpipe::network {

// The detections of a layer: of every row and detector of a cell, bits by column. [I][4][words()] of 64 bits.
using Detections = uint64_t;

// Where the ancilla in a row and column of the grid of 2 I x 2 J stands among a layer's detections: a number
// of a bit.
inline int64_t detection_of(const Patch& patch, int row, int column) {
    return int64_t{64} * (row / 2 * kDetectors + row % 2 * 2 + column % 2) * patch.words() + column / 2;
}

// Where a kind's move (DetectorLayout.move_mask) at an ancilla stands among a layer's logits.
inline int64_t logit_of(const Patch& patch, int kind, int row, int column) {
    return int64_t{kLogits} * (row / 2 * patch.columns + column / 2) + 4 * kind + row % 2 * 2 + column % 2;
}

// The activations of one experiment at a time. Not to be shared by threads; nothing is allocated after
// construction.
class Wave {
  public:
    virtual ~Wave() = default;

    // Begins another experiment: layer 0 comes next.
    virtual void start() = 0;

    // Takes the detections of the next layer. `held` + 2 layers before it are kept (`Network::begin`).
    virtual void put(const Detections* layer) = 0;

    // Moves on by one step of time: layer `step` - 1 enters the first block, and every block yields a layer.
    //
    // Steps are 0, 1, ... up to `experiment.layers` + `Network::delay()` - 1; layer `step` was put before, if
    // there is one. Returns the logits of layer `step` - delay(), [I][J][kLogits] of which kMoves are used,
    // valid until the next call; null where there is no such layer.
    virtual const float* advance(int64_t step, const Experiment& experiment) = 0;
};

class Network {
  public:
    virtual ~Network() = default;

    Patch patch() const { return sizes_.patch; }
    const Sizes& sizes() const { return sizes_; }
    cpu::Variant variant() const { return variant_; }

    // Layers that come after a layer before its logits are known.
    int delay() const { return delay_; }

    // Memory for experiments, whose layers may be put up to `held` steps early. The network outlives it.
    virtual std::unique_ptr<Wave> begin(int held) const = 0;

  protected:
    Network(const Sizes& sizes, int delay, cpu::Variant variant)
        : sizes_(sizes), delay_(delay), variant_(variant) {}

  private:
    Sizes sizes_;
    int delay_;
    cpu::Variant variant_;
};

// A network for an instruction set. Tables are copied.
std::shared_ptr<const Network> make_network(const QuantizedTables& tables, cpu::Variant variant);
std::shared_ptr<const Network> make_network(const FloatTables& tables, cpu::Variant variant);
std::shared_ptr<const Network> make_network(const DenseTables& tables, cpu::Variant variant);

// Whole shots of one layout.
class Engine {
  public:
    // layers: of the experiment, with detectors, which `timeline` has.
    // places: of every detector, its layer, row and column as a number [T][2 I][2 J].
    // moves: of every move, its kind, layer, row and column as a number [3][T][2 I][2 J].
    //
    // Throws std::invalid_argument for a place or a move outside the volume, and as `LayerStream` does.
    Engine(std::shared_ptr<const Network> network, std::shared_ptr<const Timeline> timeline, int64_t layers,
           std::span<const int64_t> places, std::span<const int64_t> moves);

    int64_t num_detectors() const { return static_cast<int64_t>(places_.size()); }
    int64_t num_moves() const { return static_cast<int64_t>(targets_.size()); }
    int64_t row_bytes() const { return (num_detectors() + 7) / 8; }

    // packed: [shots][row_bytes()], LSB first; logits: [shots][num_moves()]. Threads may call at once.
    void run(const uint8_t* packed, int64_t shots, float* logits) const;

  private:
    // A logit's number in a layer, [I][J][kLogits], and the move that gets it.
    struct Target {
        int32_t from, move;
    };
    // What a thread needs to compute a shot.
    struct Scratch {
        std::unique_ptr<Wave> wave;
        std::vector<Detections> detections;  // [T][I][4][words]
    };

    std::unique_ptr<Scratch> take() const;
    void give_back(std::unique_ptr<Scratch> scratch) const;
    void run_shot(Scratch& scratch, const uint8_t* packed, float* logits) const;

    std::shared_ptr<const Network> network_;
    std::shared_ptr<const Timeline> timeline_;
    Experiment experiment_;
    int64_t words_of_layer_;
    std::vector<int64_t> places_;        // of detectors, bits of all layers' detections
    std::vector<Target> targets_;        // by layer
    std::vector<int64_t> first_target_;  // [T + 1]
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> idle_;
};

// Experiments that come layer by layer.
class LayerStream {
  public:
    // Throws std::invalid_argument where the timeline names biases that the network does not have.
    LayerStream(std::shared_ptr<const Network> network, std::shared_ptr<const Timeline> timeline);

    Patch patch() const { return network_->patch(); }

    // Floats of a layer's logits, [I][J][kLogits].
    int64_t layer_size() const { return static_cast<int64_t>(patch().cells()) * kLogits; }

    // Layers that come after a layer, at most, before `push` yields its logits.
    int64_t delay() const { return network_->delay() + timeline_->ahead(); }

    // Begins another experiment, whatever became of the one before.
    void start();

    // Takes the next layer; `last` ends the experiment, and `start` begins the next one.
    //
    // Writes to `logits` those of all layers that become known, in order, layer_size() floats each: at most
    // one, or delay() + 1 if this is the last layer. Returns how many.
    //
    // Throws std::invalid_argument where no experiment of the timeline has so many layers.
    int64_t push(const Detections* layer, bool last, float* logits);

  private:
    std::shared_ptr<const Network> network_;
    std::shared_ptr<const Timeline> timeline_;
    std::unique_ptr<Wave> wave_;
    Experiment endless_;
    std::vector<Detections> none_;  // of a layer without detectors
    int64_t layers_ = 0, steps_ = 0;
};

}  // namespace qecpipe::network
