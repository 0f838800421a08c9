// Which of a network's biases each layer of an experiment has, however many layers there will be.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace qecpipe::network {

constexpr int64_t kEndless = INT64_MAX / 2;  // layers of an experiment whose end is not known yet

// Numbers of the biases of one layer: of the first convolution, and of the depthwise ones.
struct Biases {
    int32_t first_layer, position;
};

// One experiment: a view of a Timeline, which outlives it.
struct Experiment {
    int64_t layers;       // that the network computes, an even number, or kEndless
    const Biases* table;  // of `size` layers
    int64_t size;
    int64_t repeats_from, period;  // the layers of `table` that repeat where there are more than `size`
    int64_t tail;                  // the last ones of `table`, which are the last of this experiment

    Biases at(int64_t layer) const {
        if (layer < repeats_from || layers == size) return table[layer];
        if (layer >= layers - tail) return table[size - (layers - layer)];
        return table[repeats_from + (period == 1 ? 0 : (layer - repeats_from) % period)];
    }
};

// Experiments that differ in nothing but the number of layers in their middle.
class Timeline {
  public:
    // tables: by the number of layers that detectors have, biases of the layers that the network computes:
    // one more, without detectors, where it would be odd. In those of the longest experiment, and of one that
    // is a layer shorter if there is one, `period` layers repeat from `repeats_from` on, up to the last
    // `tail`; longer experiments have more of these. A period of 0: there are no others. ahead: layers that
    // must follow, beside those that a network waits for, before the biases of a layer are known.
    //
    // Throws std::invalid_argument for tables that do not fit this.
    Timeline(std::map<int64_t, std::vector<Biases>> tables, int64_t repeats_from, int64_t period,
             int64_t tail, int64_t ahead);

    int64_t ahead() const { return ahead_; }

    // An experiment whose end is not in sight, or one of `layers` layers with detectors.
    //
    // Throws std::invalid_argument where there is none of so many layers.
    Experiment endless() const;
    Experiment of(int64_t layers) const;

    // The largest number of a first layer's biases, and of a position's.
    Biases largest() const;

  private:
    Experiment view(int64_t layers, const std::vector<Biases>& table) const;

    std::map<int64_t, std::vector<Biases>> tables_;
    int64_t repeats_from_, period_, tail_, ahead_;
};

}  // namespace qecpipe::network
