#include "network/engine.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

namespace qecpipe::network {

namespace {

// Calls visit(bit) for every set bit of `bytes` bytes, LSB first.
template <class Visitor>
void for_each_bit(const uint8_t* packed, int64_t bytes, Visitor visit) {
    for (int64_t first = 0; first < bytes; first += 8) {
        uint64_t word = 0;
        if constexpr (std::endian::native == std::endian::little) {
            std::memcpy(&word, packed + first, static_cast<size_t>(std::min<int64_t>(8, bytes - first)));
        } else {
            for (int64_t k = std::min<int64_t>(8, bytes - first); k-- > 0;)
                word = word << 8 | packed[first + k];
        }
        for (; word; word &= word - 1) visit(8 * first + std::countr_zero(word));
    }
}

void require_inside(const char* what, int64_t place, int64_t end) {
    if (place >= 0 && place < end) return;
    throw std::invalid_argument(std::string(what) + " at place " + std::to_string(place) + " of " +
                                std::to_string(end));
}

void require_biases(const Network& network, const Timeline& timeline) {
    const Biases largest = timeline.largest();
    const Sizes& sizes = network.sizes();
    if (largest.first_layer < sizes.first_layers && largest.position < sizes.positions) return;
    throw std::invalid_argument("a layer has biases " + std::to_string(largest.first_layer) + " and " +
                                std::to_string(largest.position) + " of " +
                                std::to_string(sizes.first_layers) + " and " +
                                std::to_string(sizes.positions));
}

}  // namespace

Engine::Engine(std::shared_ptr<const Network> network, std::shared_ptr<const Timeline> timeline,
               int64_t layers, std::span<const int64_t> places, std::span<const int64_t> moves)
    : network_(std::move(network)), timeline_(std::move(timeline)), experiment_(timeline_->of(layers)),
      words_of_layer_(network_->patch().layer_words()), places_(places.begin(), places.end()),
      first_target_(experiment_.layers + 1, 0) {
    require_biases(*network_, *timeline_);
    const Patch patch = network_->patch();
    const int64_t area = int64_t{4} * patch.cells(), volume = experiment_.layers * area,
                  width = 2 * patch.columns;
    for (int64_t& place : places_) {
        require_inside("detector", place, volume);
        const int64_t here = place % area;
        place = place / area * 64 * words_of_layer_ +
                detection_of(patch, static_cast<int>(here / width), static_cast<int>(here % width));
    }
    for (const int64_t at : moves) {
        require_inside("move", at, 3 * volume);
        ++first_target_[at % volume / area + 1];
    }
    for (int64_t t = 0; t < experiment_.layers; ++t) first_target_[t + 1] += first_target_[t];
    targets_.resize(moves.size());
    std::vector<int64_t> next(first_target_.begin(), first_target_.end() - 1);
    for (size_t move = 0; move < moves.size(); ++move) {
        const int64_t here = moves[move] % area;
        const int64_t from = logit_of(patch, static_cast<int>(moves[move] / volume),
                                      static_cast<int>(here / width), static_cast<int>(here % width));
        targets_[next[moves[move] % volume / area]++] = {static_cast<int32_t>(from),
                                                         static_cast<int32_t>(move)};
    }
}

std::unique_ptr<Engine::Scratch> Engine::take() const {
    {
        const std::lock_guard lock(mutex_);
        if (!idle_.empty()) {
            auto scratch = std::move(idle_.back());
            idle_.pop_back();
            return scratch;
        }
    }
    return std::make_unique<Scratch>(
        Scratch{network_->begin(0), std::vector<Detections>(experiment_.layers * words_of_layer_)});
}

void Engine::give_back(std::unique_ptr<Scratch> scratch) const {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(scratch));
}

void Engine::run(const uint8_t* packed, int64_t shots, float* logits) const {
    auto scratch = take();
    for (int64_t shot = 0; shot < shots; ++shot)
        run_shot(*scratch, packed + shot * row_bytes(), logits + shot * num_moves());
    give_back(std::move(scratch));
}

void Engine::run_shot(Scratch& scratch, const uint8_t* packed, float* logits) const {
    std::vector<Detections>& detections = scratch.detections;
    std::fill(detections.begin(), detections.end(), 0);
    for_each_bit(packed, row_bytes(), [&](int64_t detector) {
        if (detector >= num_detectors()) return;  // padding of the last byte
        const int64_t place = places_[detector];
        detections[place / 64] |= uint64_t{1} << place % 64;
    });
    scratch.wave->start();
    const int delay = network_->delay();
    for (int64_t step = 0; step < experiment_.layers + delay; ++step) {
        if (step < experiment_.layers) scratch.wave->put(detections.data() + step * words_of_layer_);
        const float* values = scratch.wave->advance(step, experiment_);
        if (!values) continue;
        const int64_t layer = step - delay;
        for (int64_t k = first_target_[layer]; k < first_target_[layer + 1]; ++k)
            logits[targets_[k].move] = values[targets_[k].from];
    }
}

LayerStream::LayerStream(std::shared_ptr<const Network> network, std::shared_ptr<const Timeline> timeline)
    : network_(std::move(network)), timeline_(std::move(timeline)),
      wave_(network_->begin(static_cast<int>(timeline_->ahead()))), endless_(timeline_->endless()),
      none_(network_->patch().layer_words()) {
    require_biases(*network_, *timeline_);
    start();
}

void LayerStream::start() {
    wave_->start();
    layers_ = steps_ = 0;
}

int64_t LayerStream::push(const Detections* layer, bool last, float* logits) {
    if (layers_ >= endless_.size && endless_.repeats_from >= endless_.size) {
        throw std::invalid_argument("no experiment has more than " + std::to_string(layers_) + " layers");
    }
    const Experiment experiment = last ? timeline_->of(layers_ + 1) : endless_;
    wave_->put(layer);
    ++layers_;
    int64_t known = 0;
    const auto advance_to = [&](int64_t steps) {
        for (; steps_ < steps; ++steps_) {
            const float* values = wave_->advance(steps_, experiment);
            if (!values || steps_ - network_->delay() >= layers_) continue;
            std::memcpy(logits + known * layer_size(), values, layer_size() * sizeof(float));
            ++known;
        }
    };
    advance_to(layers_ - timeline_->ahead());
    if (last) {
        if (layers_ < experiment.layers) wave_->put(none_.data());
        advance_to(experiment.layers + network_->delay());
    }
    return known;
}

}  // namespace qecpipe::network
