// The states that a trellis keeps while it takes one fault after another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "trellis/key.h"

namespace trellis {

// What a fault does to a state, by the bits of its detectors there (the first detector's is bit 0).
struct Transition {
    WideKey mask = 0;             // of its detectors and observables
    std::vector<int32_t> bits;    // of a key, one for each of its detectors
    std::vector<double> stays;    // (2^detectors,): factors on the score where it does not happen ...
    std::vector<double> happens;  // ... and where it does
    bool closes = false;  // it is the last one to touch a detector, and ends states that leave it fired
};

template <class Key>
class Beam {
  public:
    // most: states between two faults, at least 1. negligible: score, beside the best one, below which a
    // state is left out although there is room for it.
    Beam(int64_t most, double negligible)
        : most_(most), negligible_(negligible), keys_(2 * most), scores_(2 * most), children_(2 * most),
          parents_(2 * most) {
        size_t cells = 16;
        while (cells < 4 * static_cast<size_t>(most)) cells *= 2;
        table_.assign(cells, -1);
    }

    // One state, in which nothing has happened.
    void start() {
        fired_ = 0;
        keys_[0] = 0;
        scores_[0] = 1;
        count_ = 1;
        threshold_ = 0;
        index();
    }

    // The detector that has this bit from now on has fired. Its bit is the same in all states.
    void fire(int32_t bit) { fired_ ^= bit_of<Key>(bit); }

    void take(const Transition& fault) {
        if (count_ > most_) prune();
        switch (fault.bits.size()) {  // so that loops over the bits are unrolled
            case 1: scale<1>(fault, 1); break;
            case 2: scale<2>(fault, 2); break;
            case 3: scale<3>(fault, 3); break;
            case 4: scale<4>(fault, 4); break;
            default: scale<0>(fault, fault.bits.size());
        }
        const Key mask = static_cast<Key>(fault.mask);
        for (int64_t k = 0; k < passed_; ++k) add(keys_[parents_[k]] ^ mask, children_[k]);
        if (fault.closes) close();
    }

    // Calls visit(key, score) for every state.
    template <class Visit>
    void for_each(const Visit& visit) const {
        for (int64_t i = 0; i < count_; ++i) visit(keys_[i], scores_[i]);
    }

  private:
    static constexpr double kAlmost = 0.99;  // what a state that is kept becomes for certain is kept, too
    static constexpr double kRelaxed = 0.3;  // of the threshold, once a detector has ended states

    // Scores without the fault, and with it those that are above the threshold: `passed_` of them. Size is
    // the number of the fault's detectors, or 0 for any.
    template <size_t Size>
    void scale(const Transition& fault, size_t size) {
        passed_ = 0;
        const int32_t* bits = fault.bits.data();
        const double *stays = fault.stays.data(), *happens = fault.happens.data();
        for (int64_t i = 0; i < count_; ++i) {
            const Key left = keys_[i] ^ fired_;
            uint32_t pattern = 0;
            for (size_t k = 0; k < (Size ? Size : size); ++k) {
                pattern |= (static_cast<uint32_t>(left >> bits[k]) & 1) << k;
            }
            const double child = scores_[i] * happens[pattern];
            children_[passed_] = child;
            parents_[passed_] = i;
            passed_ += child > threshold_;
            scores_[i] *= stays[pattern];
        }
    }

    // Adds to a state, or makes it.
    void add(Key key, double score) {
        const size_t cell = cell_of(key);
        if (table_[cell] >= 0) {
            scores_[table_[cell]] += score;
            return;
        }
        table_[cell] = static_cast<int32_t>(count_);
        keys_[count_] = key;
        scores_[count_++] = score;
    }

    // Where a state is in the table, or belongs.
    size_t cell_of(Key key) const {
        size_t cell = hash(key) & (table_.size() - 1);
        while (table_[cell] >= 0 && keys_[table_[cell]] != key) cell = (cell + 1) & (table_.size() - 1);
        return cell;
    }

    void index() {
        std::fill(table_.begin(), table_.end(), -1);
        for (int64_t i = 0; i < count_; ++i) table_[cell_of(keys_[i])] = static_cast<int32_t>(i);
    }

    // Keeps the best ones, of equal ones any. What a fault would add below them is not made any more.
    void prune() {
        std::copy_n(scores_.begin(), count_, children_.begin());
        const auto last = children_.begin() + (most_ - 1);
        std::nth_element(children_.begin(), last, children_.begin() + count_, std::greater<>());
        threshold_ = *last * kAlmost;
        const double least = *last;
        auto equal =
            most_ - std::count_if(children_.begin(), last, [=](double score) { return score > least; });
        keep_if([&](double score) { return score > least || (score == least && equal-- > 0); });
    }

    // Leaves out states that have ended, and scales the others.
    void close() {
        const double best = count_ ? *std::max_element(scores_.begin(), scores_.begin() + count_) : 0;
        if (!(best > 0)) {
            count_ = 0;
            return;
        }
        for (int64_t i = 0; i < count_; ++i) scores_[i] /= best;
        threshold_ = std::max(threshold_ / best * kRelaxed, negligible_);
        keep_if([this](double score) { return score > 0 && score >= negligible_; });
    }

    template <class Good>
    void keep_if(const Good& good) {
        int64_t kept = 0;
        for (int64_t i = 0; i < count_; ++i) {
            if (!good(scores_[i])) continue;
            keys_[kept] = keys_[i];
            scores_[kept++] = scores_[i];
        }
        count_ = kept;
        index();
    }

    int64_t most_;
    double negligible_;
    int64_t count_ = 0, passed_ = 0;
    Key fired_ = 0;  // bits of detectors that fired: keys are without them
    std::vector<Key> keys_;
    std::vector<double> scores_, children_;
    std::vector<int64_t> parents_;
    std::vector<int32_t> table_;
    double threshold_ = 0;
};

}  // namespace trellis
