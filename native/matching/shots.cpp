#include "matching/shots.h"

#include <cstring>
#include <utility>

#include "matching/changed_clusters.h"

namespace matching {

namespace {

void read(const uint8_t* packed, int32_t count, std::vector<int32_t>& detections) {
    detections.clear();
    for (int32_t start = 0; start < count; start += 64) {
        uint64_t word = 0;
        const int32_t bits = std::min(count - start, 64);
        std::memcpy(&word, packed + start / 8, (bits + 7) / 8);
        if (bits < 64) word &= (uint64_t{1} << bits) - 1;
        for (; word; word &= word - 1) detections.push_back(start + __builtin_ctzll(word));
    }
}

void mark(const std::vector<int32_t>& edges, int64_t count, uint8_t* row) {
    std::memset(row, 0, count);
    for (const int32_t edge : edges) row[edge] = 1;
}

}  // namespace

ShotMatcher::ShotMatcher(Graph graph, std::vector<uint8_t> flips, std::optional<ImpliedWeights> implied) {
    if (implied) {
        correlated_ =
            std::make_shared<const CorrelatedGraph>(std::move(graph), std::move(flips), std::move(*implied));
        graph_ = correlated_->prepared;
    } else {
        graph_ = std::make_shared<const PreparedGraph>(std::move(graph), std::move(flips));
    }
}

ShotMatcher::Worker::Worker(const ShotMatcher& of) : matcher(of.graph_) {
    if (of.correlated_) correlated.emplace(of.correlated_);
}

const float* ShotMatcher::weights_of(const Shots& shots, int64_t s, std::vector<float>& room) const {
    const int64_t edges = num_edges();
    if (!shots.quantized) return shots.weights ? shots.weights + s * edges : nullptr;
    room.resize(edges);
    const int8_t* row = shots.quantized + s * edges;
    for (int64_t e = 0; e < edges; e++) room[e] = shots.step * static_cast<float>(row[e]);
    return room.data();
}

template <class Run>
void ShotMatcher::for_each_shot(const Shots& shots, const Run& run) const {
    std::unique_ptr<Worker> worker;
    {
        const std::lock_guard lock(mutex_);
        if (!idle_.empty()) worker = std::move(idle_.back()), idle_.pop_back();
    }
    if (!worker) worker = std::make_unique<Worker>(*this);
    for (int64_t s = 0; s < shots.count; s++) {
        read(shots.packed + s * row_bytes(), graph_->graph.num_detectors, worker->detections);
        run(*worker, s, Weights{weights_of(shots, s, worker->weights), shots.are_logits});
    }
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(worker));
}

bool ShotMatcher::match(Worker& worker, const Weights& weights, double* weight) const {
    if (worker.correlated && !weights.of_shot) {
        return worker.correlated->match(worker.detections, worker.edges, weight);
    }
    return worker.matcher.match(worker.detections, weights, worker.edges, weight);
}

void ShotMatcher::match(const Shots& shots, uint8_t* edges, double* weight, bool* explained) const {
    for_each_shot(shots, [&](Worker& worker, int64_t s, const Weights& weights) {
        explained[s] = match(worker, weights, weight + s);
        mark(worker.edges, num_edges(), edges + s * num_edges());
    });
}

void ShotMatcher::match_moves(const Shots& shots, double abstain_above, uint8_t* edges,
                              float* maximum_weight) const {
    ChangedClusters clusters(graph_->graph);
    for_each_shot(shots, [&](Worker& worker, int64_t s, const Weights& weights) {
        worker.matcher.match(worker.detections, weights, worker.edges, nullptr);
        const double heaviest = clusters.heaviest(worker.matcher.changed(), weights.of_shot);
        maximum_weight[s] = static_cast<float>(heaviest);
        if (maximum_weight[s] > abstain_above) worker.edges.clear();
        mark(worker.edges, num_edges(), edges + s * num_edges());
    });
}

void ShotMatcher::predict(const Shots& shots, const uint8_t* masks, int64_t bytes, uint8_t* predictions,
                          bool* explained) const {
    std::memset(predictions, 0, shots.count * bytes);
    for_each_shot(shots, [&](Worker& worker, int64_t s, const Weights& weights) {
        explained[s] = match(worker, weights, nullptr);
        for (const int32_t edge : worker.edges) {
            for (int64_t k = 0; k < bytes; k++) predictions[s * bytes + k] ^= masks[edge * bytes + k];
        }
    });
}

void ShotMatcher::match_classes(const Shots& shots, uint8_t* zero, uint8_t* one, double* weight) const {
    for_each_shot(shots, [&](Worker& worker, int64_t s, const Weights& weights) {
        double of_class[2];
        if (worker.correlated && !weights.of_shot) {
            worker.correlated->match_classes(worker.detections, worker.of_class, of_class);
        } else {
            worker.matcher.match_classes(worker.detections, weights, worker.of_class, of_class);
        }
        weight[2 * s] = of_class[0], weight[2 * s + 1] = of_class[1];
        mark(worker.of_class[0], num_edges(), zero + s * num_edges());
        mark(worker.of_class[1], num_edges(), one + s * num_edges());
    });
}

void ShotMatcher::gap(const Shots& shots, double limit, float* gap) const {
    for_each_shot(shots, [&](Worker& worker, int64_t s, const Weights& weights) {
        gap[s] = static_cast<float>(worker.correlated && !weights.of_shot
                                        ? worker.correlated->gap(worker.detections, limit)
                                        : worker.matcher.gap(worker.detections, weights, limit));
    });
}

}  // namespace matching
