// The matching of windows of one kind.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "matching/matcher.h"
#include "streams/layer_ring.h"
#include "streams/layers.h"
#include "streams/window_graph.h"

namespace qecpipe::streams {

// Decodes windows of one kind, wherever in time they stand. Threads take turns.
class WindowDecoder {
  public:
    explicit WindowDecoder(WindowGraph window)
        : window_(checked(std::move(window))), matcher_(window_.graph), words_((window_.num_sites + 63) / 64) {
        input_of_.assign(static_cast<size_t>(window_.num_layers) * words_ * 64, -1);
        for (size_t k = 0; k < window_.inputs.size(); k++) {
            input_of_[bit_of(window_.inputs[k])] = static_cast<int32_t>(k);
        }
        prepare_correlations();
        if (window_.certain_inputs.empty()) return;
        certain_.assign(static_cast<size_t>(window_.num_layers) * words_, 0);
        for (int32_t k : window_.certain_inputs) {
            const size_t bit = bit_of(window_.inputs[k]);
            certain_[bit / 64] ^= uint64_t{1} << (bit % 64);
        }
    }

    const WindowGraph& graph() const { return window_; }

    // Decodes the window that begins with this layer: flips observables of `frame`, packed, and hands its
    // artificial defects on to the ring. False, and nothing has changed, where nothing explains the detections.
    bool decode(LayerRing& ring, int64_t start, uint64_t* frame) {
        const std::lock_guard turn(turn_);
        if (!read(ring, start)) return false;
        if (!detections_.empty()) {
            if (!match()) return false;
            for (int32_t edge : edges_) {
                for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) {
                    flip(ring, start, frame, window_.flips[k]);
                }
            }
        }
        for (int32_t fault_id : window_.certain_flips) flip(ring, start, frame, fault_id);
        return true;
    }

    // Decodes 0/1 of every input to 0/1 of every fault id.
    bool decode_inputs(const uint8_t* detections, uint8_t* fault_ids) {
        const std::lock_guard turn(turn_);
        detections_.clear();
        std::fill_n(fault_ids, window_.num_fault_ids(), 0);
        for (int32_t k = 0; k < window_.graph.num_detectors; k++) {
            const auto certain = std::ranges::count(window_.certain_inputs, k);
            if ((detections[k] + certain) % 2) detections_.push_back(k);
        }
        if (!match()) return false;
        for (int32_t edge : edges_) {
            for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) fault_ids[window_.flips[k]] ^= 1;
        }
        for (int32_t fault_id : window_.certain_flips) fault_ids[fault_id] ^= 1;
        return true;
    }

    // The same window where these errors, new or not, are as likely as not; `start` is its first layer.
    std::shared_ptr<WindowDecoder> freed(const Window& at, std::span<const Component> errors) const;

    // Memory that it takes, rather too much than too little.
    size_t num_bytes() const { return 1024 + window_.graph.first.size() * 200 + window_.inputs.size() * 200; }

  private:
    static WindowGraph checked(WindowGraph window) {
        window.check();
        return window;
    }

    size_t bit_of(Place at) const { return static_cast<size_t>(at.layer) * words_ * 64 + at.site; }

    // Numbers of the detections, without what always happens; false where one is no input.
    bool read(LayerRing& ring, int64_t start) {
        detections_.clear();
        const int32_t* input = input_of_.data();
        const uint64_t* certain = certain_.empty() ? nullptr : certain_.data();
        for (int64_t t = start; t < start + window_.num_layers; t++) {
            const uint64_t* row = ring.row(t);
            for (int32_t w = 0; w < words_; w++, input += 64) {
                uint64_t bits = row[w];
                if (certain) bits ^= *certain++;
                for (; bits; bits &= bits - 1) {
                    const int32_t detection = input[std::countr_zero(bits)];
                    if (detection < 0) return false;
                    detections_.push_back(detection);
                }
            }
        }
        return true;
    }

    // Matches the detections. With correlations twice: edges that fire with one that was used the first time are
    // then as light as that makes them, as in PyMatching (arXiv:1310.0863).
    bool match() {
        if (!matcher_.match(detections_, edges_, nullptr)) return false;
        if (implied_.empty()) return true;
        changed_.clear();
        for (int32_t edge : edges_) {
            for (int32_t j = window_.together[edge]; j < window_.together[edge + 1]; j++) {
                float& weight = weights_[window_.others[j]];
                if (implied_[j] >= weight) continue;
                weight = implied_[j];
                changed_.push_back(window_.others[j]);
            }
        }
        const bool explained = changed_.empty() || matcher_.match(detections_, weights_.data(), edges_, nullptr);
        for (int32_t edge : changed_) weights_[edge] = window_.graph.weights[edge];
        return explained;
    }

    void prepare_correlations() {
        if (window_.others.empty()) return;
        weights_ = window_.graph.weights;
        implied_.resize(window_.joint.size());
        for (size_t edge = 0; edge < weights_.size(); edge++) {
            const double marginal = 1 / (1 + std::exp(static_cast<double>(weights_[edge])));
            for (int32_t j = window_.together[edge]; j < window_.together[edge + 1]; j++) {
                const double p = std::min(0.5, window_.joint[j] / marginal);
                implied_[j] = static_cast<float>(std::log((1 - p) / p));
            }
        }
    }

    void flip(LayerRing& ring, int64_t start, uint64_t* frame, int32_t fault_id) const {
        if (fault_id < window_.num_observables) {
            frame[fault_id >> 6] ^= uint64_t{1} << (fault_id & 63);
        } else {
            const Place at = window_.artificial_defects[fault_id - window_.num_observables];
            ring.flip(start + at.layer, at.site);
        }
    }

    const WindowGraph window_;
    ::matching::Matcher matcher_;
    int32_t words_;
    std::vector<int32_t> input_of_;  // by layer, and site in it: the graph's number of a detector, -1
    std::vector<uint64_t> certain_;  // rows of what always happens; empty where nothing does
    std::mutex turn_;
    std::vector<int32_t> detections_, edges_;
    std::vector<float> implied_;   // by correlation: the weight of the other edge where this one is used
    std::vector<float> weights_;   // with correlations: those of the graph between calls
    std::vector<int32_t> changed_;
};

}  // namespace qecpipe::streams
