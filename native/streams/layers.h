// Layers of detectors of experiments of any length, and the windows that decode them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace qecpipe::streams {

// The layers of an experiment that was read, of which `cycle` repeat in longer and shorter ones: layers
// [cut - cycle, cut) do. The same as `LayeredDem` in Python, which holds the layers' content.
class LayerSequence {
  public:
    // kinds: of every layer that was read, numbers of layers that look alike; cycle is 0 where nothing
    // repeats.
    LayerSequence(std::vector<int32_t> kinds, int64_t cut, int64_t cycle)
        : kinds_(std::move(kinds)), cut_(cut), cycle_(cycle) {
        if (cycle < 0 || cut < cycle || cut > static_cast<int64_t>(kinds_.size())) {
            throw std::invalid_argument("layers [" + std::to_string(cut - cycle) + ", " +
                                        std::to_string(cut) + ") of " + std::to_string(kinds_.size()) +
                                        " cannot repeat");
        }
        for (int32_t kind : kinds_) {
            if (kind < 0) throw std::invalid_argument("a layer is of kind " + std::to_string(kind));
        }
    }

    // Layers of an experiment whose end is not in sight: without end, where layers repeat.
    int64_t endless() const { return size() + (cycle_ << 40); }

    // Kinds are numbers below this one.
    int32_t num_kinds() const {
        return kinds_.empty() ? 0 : *std::max_element(kinds_.begin(), kinds_.end()) + 1;
    }

    // Layers that were read.
    int64_t size() const { return static_cast<int64_t>(kinds_.size()); }

    // The layer that was read which looks like this one of an experiment of `num_layers`.
    int64_t source_layer(int64_t layer, int64_t num_layers) const {
        const int64_t added = num_layers - size();
        if (layer < std::min(cut_, cut_ + added)) return layer;
        if (layer >= cut_ + added) return layer - added;
        return cut_ - cycle_ + (layer - cut_) % cycle_;
    }

    // What this layer looks like: -1 before the first and after the last.
    int32_t kind(int64_t layer, int64_t num_layers) const {
        return layer < 0 || layer >= num_layers ? -1 : kinds_[source_layer(layer, num_layers)];
    }

    // Whether an experiment of so many layers is like the one that was read.
    bool can_have(int64_t num_layers) const {
        const int64_t added = num_layers - size();
        if (added == 0 || cycle_ == 0 || added % cycle_) return added == 0;
        if (added > 0) return true;
        if (cut_ + added < cycle_) return false;
        for (int64_t t = std::max<int64_t>(0, cut_ + added - cycle_); t + cycle_ < cut_; t++) {
            if (kinds_[t] != kinds_[t + cycle_]) return false;
        }
        return true;
    }

    // How the layers repeat, for messages.
    std::string repetition() const {
        if (cycle_ == 0) return "show no repetition; give a circuit or DEM with more rounds";
        return "repeat every " + std::to_string(cycle_) + " after the first " +
               std::to_string(cut_ - cycle_) + " of " + std::to_string(size());
    }

  private:
    std::vector<int32_t> kinds_;
    int64_t cut_, cycle_;
};

// Layers [start, stop) are decoded, layers [lo, hi) committed; see `Window` in Python.
struct Window {
    int64_t start, lo, hi, stop;
    bool past_closed, future_closed;

    // Whether what touches layers from `low` to `high` belongs to another window.
    bool drops(int64_t low, int64_t high) const {
        return (past_closed && low < start) || (future_closed && high >= stop);
    }

    // Whether such a component, of those that it does not drop, is committed by this window.
    bool commits(int64_t low, int64_t high) const { return low < hi && high >= lo; }
};

struct WindowSizes {
    int64_t commit, buffer;
    bool parallel;
};

// The windows of an experiment in decoding order; its end may become known on the way.
class Plan {
  public:
    Plan(WindowSizes sizes, int64_t num_layers) : sizes_(sizes), num_layers_(num_layers) {}

    // The next window to decode; after the last one, the same again.
    Window window() const {
        const bool middle = lo_ + sizes_.commit + sizes_.buffer < num_layers_;
        if (sizes_.parallel && between_) return {committed_, committed_, between_, between_, true, true};
        if (!middle) {
            const int64_t first = sizes_.parallel ? committed_ : lo_;
            return {first, first, num_layers_, num_layers_, true, false};
        }
        const int64_t hi = lo_ + sizes_.commit, stop = hi + sizes_.buffer;
        if (!sizes_.parallel) return {lo_, lo_, hi, stop, true, false};
        return {std::max<int64_t>(0, lo_ - sizes_.buffer), lo_, hi, stop, false, false};
    }

    // Passes on to the window after this one.
    void advance() {
        if (sizes_.parallel && between_ == 0 && lo_ > 0 &&
            lo_ + sizes_.commit + sizes_.buffer < num_layers_) {
            between_ = lo_;
            return;
        }
        between_ = 0;
        committed_ = lo_ + sizes_.commit;
        lo_ += sizes_.commit + (sizes_.parallel ? 2 * sizes_.buffer : 0);
    }

    // The experiment ends so; windows that were passed do not depend on it.
    void end_with(int64_t num_layers) { num_layers_ = num_layers; }

  private:
    WindowSizes sizes_;
    int64_t num_layers_;
    int64_t lo_ = 0;         // of the next window that is open to the future
    int64_t committed_ = 0;  // parallel: layers before this one are committed, but for the window between
    int64_t between_ = 0;    // parallel: the window between two others is next, and ends here; 0 where not
};

}  // namespace qecpipe::streams
