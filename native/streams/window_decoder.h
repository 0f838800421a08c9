// The matching of windows of one kind.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "matching/correlated.h"
#include "matching/matcher.h"
#include "streams/layer_ring.h"
#include "streams/layers.h"
#include "streams/logit_ring.h"
#include "streams/window_graph.h"

namespace qecpipe::streams {

// Decodes windows of one kind, wherever in time they stand. Threads take turns.
class WindowDecoder {
  public:
    explicit WindowDecoder(WindowGraph window)
        : window_(checked(std::move(window))), words_((window_.num_sites + 63) / 64) {
        input_of_.assign(static_cast<size_t>(window_.num_layers) * words_ * 64, -1);
        for (size_t k = 0; k < window_.inputs.size(); k++) {
            input_of_[bit_of(window_.inputs[k])] = static_cast<int32_t>(k);
        }
        make_matcher();
        if (window_.certain_inputs.empty()) return;
        certain_.assign(static_cast<size_t>(window_.num_layers) * words_, 0);
        for (int32_t k : window_.certain_inputs) {
            const size_t bit = bit_of(window_.inputs[k]);
            certain_[bit / 64] ^= uint64_t{1} << (bit % 64);
        }
    }

    const WindowGraph& graph() const { return window_; }

    // Throws std::invalid_argument for a ring of other sites, a frame of other observables, or a window that
    // is matched on logits where layers have another number of them, or none.
    void require(int32_t num_sites, int32_t num_observables, int32_t layer_size) const {
        if (!window_.logits.empty() && window_.layer_size != layer_size) {
            throw std::invalid_argument("a window that is matched on layers of " +
                                        std::to_string(window_.layer_size) + " logits, where there are " +
                                        std::to_string(layer_size));
        }
        if (window_.num_sites == num_sites && window_.num_observables == num_observables) return;
        throw std::invalid_argument("a window of " + std::to_string(window_.num_sites) + " sites and " +
                                    std::to_string(window_.num_observables) +
                                    " observables, where there are " + std::to_string(num_sites) + " and " +
                                    std::to_string(num_observables));
    }

    // Decodes the window that begins with this layer: flips observables of `frame`, packed, and hands its
    // artificial defects on to the ring. False, and nothing has changed, where nothing explains the
    // detections.
    //
    // logits: of layers, where the window is matched on them.
    // gap: null, or how much less likely the window's other logical class is than the one that is committed,
    //     in nats; not a number of windows that leave something open, and of those without one observable.
    bool decode(LayerRing& ring, const LogitRing& logits, int64_t start, uint64_t* frame,
                double* gap = nullptr) {
        const std::lock_guard turn(turn_);
        if (!read(ring, start)) return false;
        if (!window_.logits.empty()) read_logits(logits, start);
        if (gap != nullptr || !detections_.empty() || !window_.logits.empty()) {
            if (!match(gap)) return false;
            for (int32_t edge : edges_) {
                for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) {
                    flip(ring, start, frame, window_.flips[k]);
                }
            }
        }
        for (int32_t fault_id : window_.certain_flips) flip(ring, start, frame, fault_id);
        return true;
    }

    // Decodes 0/1 of every input to 0/1 of every fault id; on logits, as if all were 0.
    bool decode_inputs(const uint8_t* detections, uint8_t* fault_ids) {
        const std::lock_guard turn(turn_);
        detections_.clear();
        std::fill_n(fault_ids, window_.num_fault_ids(), 0);
        for (int32_t k = 0; k < window_.graph.num_detectors; k++) {
            const auto certain = std::ranges::count(window_.certain_inputs, k);
            if ((detections[k] + certain) % 2) detections_.push_back(k);
        }
        if (!match(nullptr)) return false;
        for (int32_t edge : edges_) {
            for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++)
                fault_ids[window_.flips[k]] ^= 1;
        }
        for (int32_t fault_id : window_.certain_flips) fault_ids[fault_id] ^= 1;
        return true;
    }

    // The same window where these errors, new or not, are as likely as not; `start` is its first layer.
    std::shared_ptr<WindowDecoder> freed(const Window& at, std::span<const Component> errors) const;

    // Whether `decode` finds a gap: the window leaves nothing open, has one observable, and no cycle of edges
    // between detectors flips it.
    bool has_classes() const { return has_classes_; }

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

    // Finds `edges_`, and the gap unless it is null; false where nothing explains the detections.
    bool match(double* gap) {
        if (gap != nullptr) *gap = std::numeric_limits<double>::quiet_NaN();
        const bool with_gap = gap != nullptr && has_classes_;
        if (correlated_) {
            return with_gap ? correlated_->match_with_gap(detections_, edges_, *gap)
                            : correlated_->match(detections_, edges_, nullptr);
        }
        const ::matching::Weights weights =
            window_.logits.empty() ? ::matching::Weights{} : ::matching::Weights{weights_.data(), true};
        return with_gap ? matcher_->match_with_gap(detections_, weights, edges_, *gap)
                        : matcher_->match(detections_, weights, edges_, nullptr);
    }

    // The shot's weights. Edges are in the order of their layers.
    void read_logits(const LogitRing& logits, int64_t start) {
        const float* row = nullptr;
        int32_t next = 0;  // of the layer after the one whose row that is
        int64_t layer = start - 2;
        for (size_t edge = 0; edge < weights_.size(); edge++) {
            const int32_t number = window_.logits[edge];
            if (number < 0) continue;
            while (number >= next) row = logits.row(++layer), next += window_.layer_size;
            weights_[edge] = row[number - (next - window_.layer_size)];
        }
    }

    void make_matcher() {
        weights_.assign(window_.logits.size(), 0);
        std::vector<uint8_t> flips;
        has_classes_ = find_flips(flips);
        if (window_.others.empty()) {
            matcher_ = std::make_unique<::matching::Matcher>(
                std::make_shared<const ::matching::PreparedGraph>(window_.graph, std::move(flips)));
        } else {
            correlated_ = std::make_unique<::matching::CorrelatedMatcher>(correlated_graph(std::move(flips)));
        }
    }

    // Which edges flip the observable; false, and none do, where there are no classes.
    bool find_flips(std::vector<uint8_t>& flips) const {
        if (window_.num_observables != 1 || !window_.artificial_defects.empty()) return false;
        flips.assign(window_.graph.first.size(), 0);
        for (size_t edge = 0; edge < flips.size(); edge++) {
            for (int32_t k = window_.starts[edge]; k < window_.starts[edge + 1]; k++) flips[edge] ^= 1;
        }
        if (::matching::has_classes(window_.graph, flips)) return true;
        flips.clear();
        return false;
    }

    // An edge that is used makes those that fire with it likelier.
    std::shared_ptr<const ::matching::CorrelatedGraph> correlated_graph(std::vector<uint8_t> flips) const {
        std::vector<float> implied(window_.joint.size());
        for (size_t edge = 0; edge + 1 < window_.together.size(); edge++) {
            const double marginal = 1 / (1 + std::exp(static_cast<double>(window_.graph.weights[edge])));
            for (int32_t j = window_.together[edge]; j < window_.together[edge + 1]; j++) {
                const double p = std::min(0.5, window_.joint[j] / marginal);
                implied[j] = static_cast<float>(std::log((1 - p) / p));
            }
        }
        return std::make_shared<const ::matching::CorrelatedGraph>(
            window_.graph, std::move(flips),
            ::matching::ImpliedWeights{window_.together, window_.others, std::move(implied)});
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
    std::unique_ptr<::matching::Matcher> matcher_;  // one of the two
    std::unique_ptr<::matching::CorrelatedMatcher> correlated_;
    bool has_classes_ = false;  // of an observable that nothing after the window flips
    int32_t words_;
    std::vector<int32_t> input_of_;  // by layer, and site in it: the graph's number of a detector, -1
    std::vector<uint64_t> certain_;  // rows of what always happens; empty where nothing does
    std::mutex turn_;
    std::vector<int32_t> detections_, edges_;
    std::vector<float> weights_;  // of a shot, where they are logits
};

}  // namespace qecpipe::streams
