// The first convolution: of detections, which are few, so that their weights are added one by one.
//
// An arithmetic A has, beside what `wave.h` says: first_layer_bias(kind), Numbers of all cells;
// embed(detector, near), what a detection adds to three cells of one of the nine rows around it; and
// add(sum, numbers, cells), of some cells.
#pragma once

#include <algorithm>
#include <bit>

#include "network/engine.h"
#include "network/variants/buffer.h"

namespace qecpipe::network::QECPIPE_VARIANT {

template <class A>
class FirstLayer {
    using Number = typename A::Number;

    // A detection in a row: which detector of its cell, and the cell's column.
    struct Event {
        int16_t detector, column;
    };

    const A& net_;
    const Patch patch_;
    const int kept_;          // layers of detections
    const int64_t row_;       // Numbers
    Buffer<Event> events_;    // [kept][I][4 J]
    Buffer<int32_t> counts_;  // [kept][I]
    int64_t layers_put_ = 0;

  public:
    FirstLayer(const A& net, int held)
        : net_(net), patch_(net.sizes.patch), kept_(3 + held),
          row_(static_cast<int64_t>(patch_.columns) * net.channels),
          events_(int64_t{kept_} * patch_.cells() * kDetectors), counts_(int64_t{kept_} * patch_.rows) {}

    void start() { layers_put_ = 0; }

    void put(const Detections* layer) {
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

    // A layer's sums, [I][J][C], before the nonlinearity.
    void operator()(int64_t layer, const Experiment& experiment, Number* to) const {
        std::copy_n(net_.first_layer_bias(experiment.at(layer).first_layer), patch_.rows * row_, to);
        const int64_t end = std::min(layer + 2, experiment.layers);
        for (int64_t from = std::max<int64_t>(layer - 1, 0); from < end; ++from) {
            const int64_t slot = from % kept_ * patch_.rows;
            for (int row = 0; row < patch_.rows; ++row) {
                if (!counts_[slot + row]) continue;
                const int last = std::min(row + 1, patch_.rows - 1);
                for (int i = std::max(row - 1, 0); i <= last; ++i)
                    add_events(slot + row, static_cast<int>(from - layer + 1) * 3 + row - i + 1,
                               to + i * row_);
            }
        }
    }

  private:
    // Adds what the detections of one row, `at` of those that are kept, add to another, `near` of nine.
    void add_events(int64_t at, int near, Number* to) const {
        const Event* event = events_ + at * kDetectors * patch_.columns;
        for (const Event* const end = event + counts_[at]; event < end; ++event) {
            const int first = std::max(event->column - 1, 0),
                      last = std::min(event->column + 1, patch_.columns - 1);
            const Number* const numbers =
                net_.embed(event->detector, near) + (first - event->column + 1) * net_.channels;
            net_.add(to + static_cast<int64_t>(first) * net_.channels, numbers, last - first + 1);
        }
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
