#include "streams/stage.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace qecpipe::streams {

namespace {

constexpr size_t kForgotten = 1024;  // proposed moves that were decided may be kept

void need(bool fits, const char* what) {
    if (!fits) throw std::invalid_argument(std::string("a pre-decoder stage has ") + what);
}

}  // namespace

void StageTables::add_hyperedges(const std::vector<std::vector<Place>>& edges) {
    LayerHyperedges added;
    std::vector<std::vector<int32_t>> of_node(static_cast<size_t>(reach + 1) * num_sites);
    for (size_t k = 0; k < edges.size(); k++) {
        for (const Place& at : edges[k]) {
            if (at.layer < 0 || at.layer > reach || at.site < 0 || at.site >= num_sites) {
                throw std::invalid_argument("hyperedge " + std::to_string(k) +
                                            " has a detector at no site of " + std::to_string(reach + 1) +
                                            " layers");
            }
            added.nodes.push_back(at);
            of_node[static_cast<size_t>(at.layer) * num_sites + at.site].push_back(static_cast<int32_t>(k));
        }
        added.starts.push_back(static_cast<int32_t>(added.nodes.size()));
    }
    for (const std::vector<int32_t>& members : of_node) {
        added.of_node.push_back(static_cast<int32_t>(added.members.size()));
        added.members.insert(added.members.end(), members.begin(), members.end());
    }
    added.of_node.push_back(static_cast<int32_t>(added.members.size()));
    hyperedges.push_back(std::move(added));
}

void StageTables::check() const {
    check_certain();
    need(hyperedges.empty() || std::ssize(hyperedges) == layers.size(),
         "hyperedges of another number of layers");
    for (const auto& [kinds, table] : moves_of)
        need(table >= 0 && table < std::ssize(moves), "no moves of a kind");
    for (const LayerMoves& table : moves) {
        const size_t count = table.logits.size();
        need(table.first.size() == count && table.second.size() == count, "moves without detectors");
        need(table.starts.size() == count + 1 && table.starts.front() == 0,
             "moves without starts of observables");
        need(std::is_sorted(table.starts.begin(), table.starts.end()), "starts that are not in order");
        need(table.starts.back() == std::ssize(table.flips), "observables of no move");
        for (int32_t k : table.logits) need(k >= 0 && k < layer_size, "a move without a logit");
        for (int32_t k : table.flips)
            need(k >= 0 && k < num_observables, "a move that flips no known observable");
        for (const std::vector<Place>* ends : {&table.first, &table.second}) {
            for (const Place& at : *ends) {
                need(at.layer >= 0 && at.layer <= 1 && at.site >= 0 && at.site < num_sites,
                     "a move at no site");
            }
        }
    }
}

void StageTables::check_certain() const {
    need(certain_reach >= 0, "errors that always happen and reach before their layer");
    need(certain.empty() || std::ssize(certain) == layers.num_kinds(),
         "certain errors of another number of kinds");
    for (const std::vector<Component>& errors : certain) {
        for (const Component& error : errors) {
            for (const Place& at : error.detectors) {
                need(at.layer >= 0 && at.layer <= certain_reach, "a certain error past its reach");
                need(at.site >= 0 && at.site < num_sites, "a certain error at no site");
            }
            for (int32_t k : error.observables) {
                need(k >= 0 && k < num_observables, "a certain error that flips no known observable");
            }
        }
    }
}

Stage::Stage(std::shared_ptr<const StageTables> tables)
    : tables_(std::move(tables)), clusters_(tables_->policy, kLongestWait * tables_->num_sites),
      rows_(tables_->num_sites), detections_(tables_->num_sites), changes_(tables_->num_sites),
      flips_(tables_->num_observables) {
    tables_->check();
    for (const LayerHyperedges& edges : tables_->hyperedges) {
        hits_.resize(std::max(hits_.size(), edges.starts.size()), 0);
    }
}

void Stage::start() {
    clusters_.clear();
    rows_.clear(), detections_.clear(), changes_.clear(), flips_.clear();
    proposed_.clear(), layer_of_.clear(), committed_.clear();
    ended_ = false;
    pushed_ = seen_ = decided_ = known_ = given_ = 0;
    next_ = 0;
}

void Stage::put(const uint64_t* row, bool last) {
    // A move and a hyperedge may reach past the last layer that came.
    const int64_t ahead = pushed_ + 1 + tables_->reach;
    rows_.reach(ahead), detections_.reach(ahead), changes_.reach(ahead), flips_.reach(ahead);
    const int64_t layer = pushed_++;
    ended_ = last;
    std::copy_n(row, rows_.words(), rows_.row(layer));
    std::copy_n(row, rows_.words(), detections_.row(layer));
    add_certain(layer, detections_.row(layer));
}

void Stage::logits(const float* values) {
    if (seen_ >= pushed_) throw std::invalid_argument("logits came before layer " + std::to_string(seen_));
    const LayerSequence& layers = tables_->layers;
    const int64_t layer = seen_++, experiment = num_layers();
    if (tables_->keeps_logits) return;
    const auto found =
        tables_->moves_of.find({layers.kind(layer, experiment), layers.kind(layer + 1, experiment)});
    if (found == tables_->moves_of.end()) {
        throw std::invalid_argument("no moves are known of layer " + std::to_string(layer));
    }
    const LayerMoves& moves = tables_->moves[found->second];
    const float propose = static_cast<float>(tables_->policy.propose);
    if (next_ == proposed_.size() || next_ > kForgotten) {
        proposed_.erase(proposed_.begin(), proposed_.begin() + next_);
        layer_of_.erase(layer_of_.begin(), layer_of_.begin() + next_);
        next_ = 0;
    }
    for (size_t k = 0; k < moves.logits.size(); k++) {
        const float logit = values[moves.logits[k]];
        if (!(logit > propose)) continue;
        layer_of_.push_back(layer);
        proposed_.push_back({node(layer, moves.first[k]), node(layer, moves.second[k]), logit, found->second,
                             static_cast<int32_t>(k)});
    }
}

void Stage::add_certain(int64_t layer, uint64_t* row) const {
    if (tables_->certain.empty()) return;
    const int64_t experiment = num_layers();
    for (int64_t t = std::max<int64_t>(0, layer - tables_->certain_reach); t <= layer; t++) {
        for (const Component& error : tables_->certain[tables_->layers.kind(t, experiment)]) {
            for (const Place& at : error.detectors) {
                if (t + at.layer == layer) row[at.site >> 6] ^= uint64_t{1} << (at.site & 63);
            }
        }
    }
}

void Stage::decide() {
    if (ended_ && pushed_ - 1 < tables_->min_rounds) {
        known_ = pushed_;  // as they came: moves of none
        return;
    }
    // The last layer, of data qubits, is still to come: an experiment of so many rounds has one layer more.
    if (pushed_ < tables_->min_rounds) return;
    if (tables_->keeps_logits) {
        known_ = seen_;
        return;
    }
    const int64_t stop = ended_ ? seen_ : std::min(seen_, pushed_ - tables_->lookahead);
    while (decided_ < stop) decide_layer(decided_++);
}

// Judges what is known once the moves of a layer are.
void Stage::decide_layer(int64_t layer) {
    const int64_t sites = tables_->num_sites, limit = (layer + 1) * sites;
    const bool last = ended_ && layer + 1 == pushed_;
    committed_.clear();
    int64_t frontier = last ? std::numeric_limits<int64_t>::max() : limit;
    for (; next_ < proposed_.size() && layer_of_[next_] == layer; next_++) {
        if (tables_->policy.commits_all()) {
            committed_.push_back(proposed_[next_]);
        } else {
            clusters_.propose(proposed_[next_]);
        }
    }
    if (!tables_->policy.commits_all()) {
        if (!tables_->hyperedges.empty()) join_hyperedges(layer);
        const auto fired = [&](int64_t node) {
            return detections_.row(node / sites)[node % sites >> 6] >> (node % sites & 63) & 1;
        };
        frontier = clusters_.finalize(frontier, fired, committed_);
    }
    for (const ProposedMove& move : committed_) apply(move);
    known_ = std::min(frontier / sites, last ? pushed_ : layer + 1);
}

// Detections of hyperedges that may have happened belong together: all fired but one, and two at least.
void Stage::join_hyperedges(int64_t layer) {
    const LayerHyperedges& edges = tables_->hyperedges[tables_->layers.source_layer(layer, num_layers())];
    hit_.clear();
    for (int32_t t = 0; t <= tables_->reach; t++) {
        const uint64_t* row = detections_.row(layer + t);
        for (int32_t w = 0; w < detections_.words(); w++) {
            for (uint64_t left = row[w]; left; left &= left - 1) {
                const int32_t at = t * tables_->num_sites + 64 * w + std::countr_zero(left);
                for (int32_t k = edges.of_node[at]; k < edges.of_node[at + 1]; k++) {
                    if (hits_[edges.members[k]]++ == 0) hit_.push_back(edges.members[k]);
                }
            }
        }
    }
    for (int32_t edge : hit_) {
        const int32_t begin = edges.starts[edge], end = edges.starts[edge + 1], hits = hits_[edge];
        hits_[edge] = 0;
        if (hits < std::max(2, end - begin - 1)) continue;
        int64_t first = -1;
        for (int32_t k = begin; k < end; k++) {
            const Place at = edges.nodes[k];
            if (!(detections_.row(layer + at.layer)[at.site >> 6] >> (at.site & 63) & 1)) continue;
            const int64_t fired = node(layer, at);
            if (first < 0) first = fired;
            clusters_.join(first, fired);
        }
    }
}

void Stage::apply(const ProposedMove& move) {
    const int64_t sites = tables_->num_sites;
    changes_.flip(move.first / sites, static_cast<int32_t>(move.first % sites));
    if (move.second != move.first)
        changes_.flip(move.second / sites, static_cast<int32_t>(move.second % sites));
    const LayerMoves& moves = tables_->moves[move.table];
    for (int32_t k = moves.starts[move.move]; k < moves.starts[move.move + 1]; k++) {
        flips_.flip(move.first / sites, moves.flips[k]);
    }
}

}  // namespace qecpipe::streams
