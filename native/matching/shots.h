// Matchings of batches of shots: any number of threads may ask one object at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "matching/correlated.h"
#include "matching/matcher.h"

namespace matching {

// Shape legend: B shots, D detectors, E edges. Rows of detections are bit-packed, LSB first.
struct Shots {
    int64_t count;                   // B
    const uint8_t* packed;           // (B, ceil(D / 8))
    const float* weights = nullptr;  // (B, E); null for the graph's own
    bool are_logits = false;
    // In place of weights: (B, E) whole numbers of `step`.
    const int8_t* quantized = nullptr;
    float step = 1;
};

// A graph, and matchers for as many threads as have asked at once.
class ShotMatcher {
  public:
    // `flips`: (E,) 0/1, or empty, see `PreparedGraph`. With implied weights, shots without weights of their
    // own are matched twice. Throws std::invalid_argument.
    ShotMatcher(Graph graph, std::vector<uint8_t> flips, std::optional<ImpliedWeights> implied);

    int64_t num_edges() const { return graph_->graph.num_edges(); }
    int64_t row_bytes() const { return (graph_->graph.num_detectors + 7) / 8; }
    bool has_flips() const { return !graph_->flips.empty(); }

    // edges: 0/1 (B, E). weight: (B,). explained: (B,), see `Matcher::match`.
    void match(const Shots& shots, uint8_t* edges, double* weight, bool* explained) const;

    // Of logits: as `match`, but shots in which a cluster of changed edges weighs more than `abstain_above`
    // have no edges. maximum_weight: (B,), of the heaviest such cluster.
    void match_moves(const Shots& shots, double abstain_above, uint8_t* edges, float* maximum_weight) const;

    // predictions: (B, bytes), the sum modulo 2 of `masks` (E, bytes) of the edges.
    void predict(const Shots& shots, const uint8_t* masks, int64_t bytes, uint8_t* predictions,
                 bool* explained) const;

    // zero, one: 0/1 (B, E), of either class. weight: (B, 2).
    void match_classes(const Shots& shots, uint8_t* zero, uint8_t* one, double* weight) const;

    // gap: (B,), see `Matcher::gap`.
    void gap(const Shots& shots, double limit, float* gap) const;

  private:
    // What one thread needs.
    struct Worker {
        explicit Worker(const ShotMatcher& of);

        Matcher matcher;
        std::optional<CorrelatedMatcher> correlated;
        std::vector<int32_t> detections, edges, of_class[2];
        std::vector<float> weights;  // of a shot whose are quantized
    };

    // The weights of a shot, in `room` if they are quantized; null for the graph's own.
    const float* weights_of(const Shots& shots, int64_t s, std::vector<float>& room) const;

    // Calls run(worker, shot, weights) for every shot, with its detections in the worker.
    template <class Run>
    void for_each_shot(const Shots& shots, const Run& run) const;

    bool match(Worker& worker, const Weights& weights, double* weight) const;

    std::shared_ptr<const PreparedGraph> graph_;
    std::shared_ptr<const CorrelatedGraph> correlated_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Worker>> idle_;
};

}  // namespace matching
