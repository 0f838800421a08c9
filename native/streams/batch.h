// Whole shots through windows: streams that are fed all at once.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "streams/layer_ring.h"
#include "streams/window_decoder.h"

namespace qecpipe::streams {

// A window of an experiment: its first layer, and what decodes it.
struct PlacedWindow {
    int64_t start;
    std::shared_ptr<WindowDecoder> decoder;
};

// The windows of an experiment whose length is known. Threads take turns.
class WindowBatch {
  public:
    // windows: in decoding order. detectors: layer and site of each. certain_observables: flipped in every
    // shot.
    WindowBatch(std::vector<PlacedWindow> windows, std::vector<Place> detectors, int32_t num_sites,
                int32_t num_observables, std::vector<int32_t> certain_observables)
        : windows_(std::move(windows)), detectors_(std::move(detectors)),
          certain_(std::move(certain_observables)), ring_(num_sites), num_sites_(num_sites),
          num_observables_(num_observables), frame_((num_observables + 63) / 64) {
        for (const Place& at : detectors_) {
            if (at.layer < 0 || at.site < 0 || at.site >= num_sites) {
                throw std::invalid_argument("a detector is at no site of a layer");
            }
            ring_.reach(at.layer);
        }
        for (const PlacedWindow& window : windows_) {
            const WindowGraph& graph = window.decoder->graph();
            window.decoder->require(num_sites, num_observables, graph.layer_size);
            if (window.start < 0) throw std::invalid_argument("a window begins before the first layer");
            ring_.reach(window.start + graph.num_layers - 1);
        }
        for (int32_t k : certain_) {
            if (k < 0 || k >= num_observables)
                throw std::invalid_argument("observable " + std::to_string(k) + " is certain");
        }
    }

    int64_t num_detectors() const { return static_cast<int64_t>(detectors_.size()); }
    int32_t num_observables() const { return num_observables_; }

    // Windows are matched on logits from now on: of every move of a shot, its number in its layer plus
    // `layer_size` times the layer.
    void match_on(std::vector<int64_t> numbers, int32_t layer_size) {
        if (layer_size < 1)
            throw std::invalid_argument("layers of " + std::to_string(layer_size) + " logits");
        numbers_ = std::move(numbers), layer_size_ = layer_size, num_layers_ = 0;
        for (int64_t k : numbers_) {
            if (k < 0) throw std::invalid_argument("a move has no place among the logits");
            num_layers_ = std::max(num_layers_, k / layer_size + 1);
        }
        shot_logits_.assign(num_layers_ * layer_size, 0);
        logits_ = LogitRing(layer_size);
    }

    int64_t num_moves() const { return std::ssize(numbers_); }

    // Decodes packed shots, LSB first, into flips of the observables, packed as well; `logits`, of every shot
    // num_moves(), where windows are matched on them. Returns the first window of the first shot that nothing
    // explains, with the shot, or {-1, -1}.
    std::pair<int64_t, int64_t> decode(const uint8_t* packed, const float* logits, int64_t shots,
                                       uint8_t* flips) {
        const std::lock_guard turn(turn_);
        for (const PlacedWindow& window : windows_) {
            window.decoder->require(num_sites_, num_observables_, layer_size_);
        }
        const int64_t width = (num_detectors() + 7) / 8, flips_width = (num_observables_ + 7) / 8;
        for (int64_t shot = 0; shot < shots; shot++) {
            ring_.clear();
            fill(packed + shot * width, width);
            if (!numbers_.empty()) fill_logits(logits + shot * num_moves());
            std::fill(frame_.begin(), frame_.end(), 0);
            for (int32_t k : certain_) frame_[k >> 6] ^= uint64_t{1} << (k & 63);
            for (size_t k = 0; k < windows_.size(); k++) {
                if (!windows_[k].decoder->decode(ring_, logits_, windows_[k].start, frame_.data())) {
                    return {shot, static_cast<int64_t>(k)};
                }
            }
            std::memcpy(flips + shot * flips_width, frame_.data(), flips_width);
        }
        return {-1, -1};
    }

  private:
    void fill_logits(const float* logits) {
        for (size_t k = 0; k < numbers_.size(); k++) shot_logits_[numbers_[k]] = logits[k];
        logits_.clear();
        for (int64_t t = 0; t < num_layers_; t++) logits_.put(t, shot_logits_.data() + t * layer_size_);
    }

    void fill(const uint8_t* row, int64_t width) {
        for (int64_t at = 0; at < width; at += 8) {
            uint64_t word = 0;
            std::memcpy(&word, row + at, std::min<int64_t>(8, width - at));
            for (; word; word &= word - 1) {
                const size_t detector = 8 * at + std::countr_zero(word);
                if (detector >= detectors_.size()) break;
                ring_.flip(detectors_[detector].layer, detectors_[detector].site);
            }
        }
    }

    const std::vector<PlacedWindow> windows_;
    const std::vector<Place> detectors_;
    const std::vector<int32_t> certain_;
    LayerRing ring_;
    int32_t num_sites_, num_observables_;
    std::vector<uint64_t> frame_;
    // Where windows are matched on logits.
    std::vector<int64_t> numbers_;
    int32_t layer_size_ = 0;
    int64_t num_layers_ = 0;
    std::vector<float> shot_logits_;
    LogitRing logits_{0};
    std::mutex turn_;
};

}  // namespace qecpipe::streams
