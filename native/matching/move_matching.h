// The likeliest explanation of a shot by a matching on its logits: see predecoder/correction/matching.py.
//
// Defects are what the moves with a positive logit leave of the syndrome. They are explained by changing
// moves at the weight |logit|, at the lowest weight in all: a minimum-weight matching of the defects with
// each other and with the boundary, d(u, v) and b(u) being the lowest weights of paths.
//
// Every defect u has a radius r(u), and a region of the nodes that are not further from it, but no further
// than b(u) either. What is solved is a relaxed problem, in which u may also stay unmatched, for r(u). In it
// only pairs with d(u, v) <= min(r, b)(u) + min(r, b)(v) matter, as both ends weigh no more unpaired, and those
// are the pairs whose regions meet. So the problem falls into clusters of defects. Most are small and solved by
// dynamic programming, the others as heaviest matchings, in which a pair weighs what it saves. A
// solution that leaves nothing unmatched is the lightest one of the whole problem: any other becomes one of the
// relaxed problem, at no higher weight, if all that does not matter is unmatched. As long as defects are
// unmatched, their radii grow.
//
// A shot's result depends on nothing but that shot. Shots that would take long (huge clusters, large
// regions) are handed back unsolved.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "matching/paths.h"

namespace matching {

// Matchings on logits in the order of some columns, which need not all be moves. Threads may share one.
class MoveMatching {
  public:
    // first, second: the detectors of every column's move, the second -1 where it has one, both -1 where the
    // column is no move. Throws std::invalid_argument where an end is not a detector.
    MoveMatching(std::span<const int32_t> first, std::span<const int32_t> second, int64_t detectors);

    int64_t num_columns() const { return static_cast<int64_t>(first_.size()); }
    int64_t num_detectors() const { return static_cast<int64_t>(starts_.size()) - 1; }

    // Returns how many shots are left unsolved; `unsolved` says which. Their moves are all 0.
    //
    // logits: (shots, columns). packed: (shots, ceil(detectors / 8)), LSB first. Out: committed 0/1 (shots,
    // columns), nothing where a cluster of flipped edges weighs more than `abstain_above`; maximum_weight
    // (shots,), that weight; unsolved (shots,).
    int64_t match(int64_t shots, const float* logits, const uint8_t* packed, double abstain_above,
                  uint8_t* committed, float* maximum_weight, bool* unsolved) const;

  private:
    std::vector<int32_t> first_, second_;  // per column
    std::vector<int32_t> starts_;          // per detector and one more: where its arcs begin
    std::vector<paths::Arc> arcs_;         // every move from each of its detectors, in the order of columns
};

}  // namespace matching
