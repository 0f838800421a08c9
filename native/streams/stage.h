// The pre-decoder in front of windows: layers and their logits in, layers of the residual out.
//
// Every move is decided once, when nothing still to come can change the decision, so that a stream commits
// the moves that `make_decision` commits on whole shots.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "streams/clusters.h"
#include "streams/layer_ring.h"
#include "streams/layers.h"
#include "streams/window_graph.h"

namespace qecpipe::streams {

// The moves of a layer that is followed by one of another kind or by none.
struct LayerMoves {
    std::vector<int32_t> logits;       // numbers in the layer's logits
    std::vector<Place> first, second;  // detectors, layers from this one on; the same twice where that is one
    std::vector<int32_t> starts,
        flips;  // move k flips observables flips[starts[k]] to flips[starts[k + 1] - 1]
};

// Hyperedges that begin in a layer: edge k joins detectors nodes[starts[k]] to nodes[starts[k + 1] - 1].
struct LayerHyperedges {
    std::vector<int32_t> starts{0};
    std::vector<Place> nodes;
    // By node, layer times sites plus site: edges members[of_node[node]] to members[of_node[node + 1] - 1].
    std::vector<int32_t> of_node, members;
};

// What a stage knows of an experiment, whatever its length; shared by all shots.
struct StageTables {
    StageTables(LayerSequence layers, int32_t num_sites, int32_t num_observables, int32_t layer_size)
        : layers(std::move(layers)), num_sites(num_sites), num_observables(num_observables),
          layer_size(layer_size) {}

    LayerSequence layers;
    int32_t num_sites, num_observables;
    int32_t layer_size;  // logits of a layer
    StagePolicy policy;
    bool keeps_logits = false;  // commits nothing: windows are matched on the logits
    int64_t min_rounds = 1;     // of the shortest experiment that moves are committed in
    std::vector<LayerMoves> moves;
    std::map<std::pair<int32_t, int32_t>, int32_t>
        moves_of;                                 // by kinds of a layer and the next one, -1 for none
    std::vector<LayerHyperedges> hyperedges;      // by layer that was read; empty where none are used
    int32_t reach = 0;                            // layers from a hyperedge's first detector to its last
    int32_t lookahead = 0;                        // layers that follow before a layer's hyperedges are known
    std::vector<std::vector<Component>> certain;  // by kind: errors that always happen, from this layer on
    int32_t certain_reach = 0;

    // Adds hyperedges of the next layer that was read.
    void add_hyperedges(const std::vector<std::vector<Place>>& edges);

    // Throws std::invalid_argument where tables do not fit each other.
    void check() const;

  private:
    void check_certain() const;
};

constexpr int64_t kLongestWait = 64;  // layers that an open cluster may hold back, LONGEST_WAIT in Python

// One shot at a time. Nothing is allocated after some shots.
class Stage {
  public:
    explicit Stage(std::shared_ptr<const StageTables> tables);

    // Begins a shot.
    void start();

    // Takes the detections of the next layer, a row of sites; `last` ends the shot.
    void put(const uint64_t* row, bool last);

    // The detections of the layer that came last, without what always happens: what a network is given.
    const uint64_t* detections() { return detections_.row(pushed_ - 1); }

    // Layers whose logits came.
    int64_t seen() const { return seen_; }

    // Takes the logits of the next layer: layers that follow it came before, or it is the last.
    void logits(const float* values);

    // Calls give(row, flips) for every layer that became known, in order: what is left of its detections, and
    // observables that its moves flip, packed.
    template <class Give>
    void drain(Give give) {
        decide();
        for (; given_ < known_; given_++) {
            uint64_t* row = rows_.row(given_);
            for (int32_t w = 0; w < rows_.words(); w++) row[w] ^= changes_.row(given_)[w];
            give(row, flips_.row(given_));
        }
        rows_.forget(given_), detections_.forget(given_), changes_.forget(given_), flips_.forget(given_);
    }

    const StageTables& tables() const { return *tables_; }

    // Whether the shot that ended was too short for any move.
    bool was_short() const { return ended_ && pushed_ - 1 < tables_->min_rounds; }

  private:
    int64_t num_layers() const { return ended_ ? pushed_ : tables_->layers.endless(); }
    int64_t node(int64_t layer, Place at) const { return (layer + at.layer) * tables_->num_sites + at.site; }
    void add_certain(int64_t layer, uint64_t* row) const;
    void decide();
    void decide_layer(int64_t layer);
    void join_hyperedges(int64_t layer);
    void apply(const ProposedMove& move);

    const std::shared_ptr<const StageTables> tables_;
    OpenClusters clusters_;
    LayerRing rows_, detections_;  // as they came, and without what always happens
    LayerRing changes_, flips_;    // by committed moves: of detections and observables
    std::vector<ProposedMove> proposed_, committed_;
    std::vector<int32_t> hits_, hit_;
    bool ended_ = false;
    int64_t pushed_ = 0, seen_ = 0, decided_ = 0, known_ = 0, given_ = 0;
    std::vector<int64_t> layer_of_;  // of proposed_
    size_t next_ = 0;                // of proposed_
};

}  // namespace qecpipe::streams
