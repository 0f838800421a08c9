// Clusters of proposed moves that are not judged yet, with the pairs of detections that join them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace qecpipe::streams {

// By which rule a network's logits become committed moves; see `ThresholdPolicy` in Python.
struct StagePolicy {
    double propose = 0, commit = 0;
    bool empty_residual = false;  // commit only clusters that explain every detection they touch

    bool commits_all() const { return commit == propose && !empty_residual; }
};

// A move whose logit says that it may be right. Nodes number the detectors, layer by layer.
struct ProposedMove {
    int64_t first, second;  // nodes that it flips; the same twice where that is one
    float logit;
    int32_t table, move;  // where its observables are
};

// A cluster stands or falls as one: proposed moves that share a detector, or whose detectors a hyperedge
// joins.
class OpenClusters {
  public:
    // longest_wait: nodes, in order, that an open cluster may hold back.
    OpenClusters(StagePolicy policy, int64_t longest_wait) : policy_(policy), longest_wait_(longest_wait) {}

    void clear() { moves_.clear(), pairs_.clear(); }

    void propose(const ProposedMove& move) { moves_.push_back(move); }

    // Two detections belong together.
    void join(int64_t first, int64_t second) { pairs_.emplace_back(first, second); }

    // Judges every cluster that is closed: what is still to come touches nodes from `limit` on only.
    //
    // fired: whether a node fired; asked of moves' ends that no pair touches. Appends the moves that are
    // committed. Returns the node before which no later call commits any.
    template <class Fired>
    int64_t finalize(int64_t limit, Fired fired, std::vector<ProposedMove>& committed) {
        if (moves_.empty() && pairs_.empty()) return limit;
        connect();
        if (policy_.empty_residual) count_unexplained(limit, fired);
        int64_t frontier = limit;
        size_t kept = 0;
        for (const ProposedMove& move : moves_) {
            const Cluster& cluster = clusters_[root_of(move.first)];
            if (cluster.last < limit) {
                if (cluster.weakest >= policy_.commit && !cluster.unexplained) committed.push_back(move);
            } else if (waits(cluster, limit)) {
                frontier = std::min({frontier, move.first, move.second});
                moves_[kept++] = move;
            }
        }
        moves_.resize(kept);
        std::erase_if(pairs_, [&](const std::pair<int64_t, int64_t>& pair) {
            const Cluster& cluster = clusters_[root_of(pair.first)];
            return cluster.last < limit || !waits(cluster, limit);
        });
        return frontier;
    }

  private:
    struct Cluster {
        int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
        double weakest = std::numeric_limits<double>::infinity();
        bool unexplained = false;
    };

    // A cluster that is too long is given up: its moves are left to decode.
    bool waits(const Cluster& cluster, int64_t limit) const { return cluster.first >= limit - longest_wait_; }

    int32_t place_of(int64_t node) const {
        return static_cast<int32_t>(std::lower_bound(nodes_.begin(), nodes_.end(), node) - nodes_.begin());
    }

    int32_t find(int32_t place) {
        while (parent_[place] != place) place = parent_[place] = parent_[parent_[place]];
        return place;
    }

    int32_t root_of(int64_t node) { return find(place_of(node)); }

    void unite(int64_t first, int64_t second) { parent_[root_of(first)] = root_of(second); }

    void connect() {
        nodes_.clear();
        for (const ProposedMove& move : moves_) nodes_.push_back(move.first), nodes_.push_back(move.second);
        for (const auto& [first, second] : pairs_) nodes_.push_back(first), nodes_.push_back(second);
        std::sort(nodes_.begin(), nodes_.end());
        nodes_.erase(std::unique(nodes_.begin(), nodes_.end()), nodes_.end());
        parent_.resize(nodes_.size());
        for (size_t k = 0; k < nodes_.size(); k++) parent_[k] = static_cast<int32_t>(k);
        for (const ProposedMove& move : moves_) unite(move.first, move.second);
        for (const auto& [first, second] : pairs_) unite(first, second);
        clusters_.assign(nodes_.size(), {});
        for (size_t k = 0; k < nodes_.size(); k++) {
            Cluster& cluster = clusters_[find(static_cast<int32_t>(k))];
            cluster.first = std::min(cluster.first, nodes_[k]);
            cluster.last = std::max(cluster.last, nodes_[k]);
        }
        for (const ProposedMove& move : moves_) {
            Cluster& cluster = clusters_[root_of(move.first)];
            cluster.weakest = std::min<double>(cluster.weakest, move.logit);
        }
    }

    // Of closed clusters, whether moves leave a detection.
    template <class Fired>
    void count_unexplained(int64_t limit, Fired fired) {
        odd_.assign(nodes_.size(), 0);
        paired_.assign(nodes_.size(), 0);
        for (const ProposedMove& move : moves_) {
            odd_[place_of(move.first)] ^= 1;
            if (move.second != move.first) odd_[place_of(move.second)] ^= 1;
        }
        // Only detections are paired, and their layers may be gone by now.
        for (const auto& [first, second] : pairs_) paired_[place_of(first)] = paired_[place_of(second)] = 1;
        for (size_t k = 0; k < nodes_.size(); k++) {
            Cluster& cluster = clusters_[find(static_cast<int32_t>(k))];
            if (cluster.last >= limit || cluster.unexplained) continue;
            cluster.unexplained = odd_[k] != (paired_[k] ? 1 : static_cast<uint8_t>(fired(nodes_[k])));
        }
    }

    const StagePolicy policy_;
    const int64_t longest_wait_;
    std::vector<ProposedMove> moves_;
    std::vector<std::pair<int64_t, int64_t>> pairs_;
    // Of one call.
    std::vector<int64_t> nodes_;
    std::vector<int32_t> parent_;
    std::vector<Cluster> clusters_;
    std::vector<uint8_t> odd_, paired_;
};

}  // namespace qecpipe::streams
