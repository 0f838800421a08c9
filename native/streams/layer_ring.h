// The layers of detections that windows read: a ring of packed rows, a bit for every site.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace qecpipe::streams {

// Rows of layers [first, first + capacity), zero until something is added to them.
class LayerRing {
  public:
    explicit LayerRing(int32_t num_sites) : words_((num_sites + 63) / 64), rows_(words_) {}

    int32_t words() const { return words_; }

    // The row of a layer that was made room for; of the sites of every layer bits 0, 1, ...
    uint64_t* row(int64_t layer) { return rows_.data() + (layer & mask_) * words_; }

    // Makes room for layers up to this one. Allocates only where more layers are held than ever before.
    void reach(int64_t layer) {
        if (layer - first_ <= mask_) return;
        const int64_t capacity = std::bit_ceil(static_cast<uint64_t>(layer - first_ + 1));
        std::vector<uint64_t> rows(capacity * words_);
        for (int64_t t = first_; t <= first_ + mask_; t++) {
            for (int32_t w = 0; w < words_; w++) rows[(t & (capacity - 1)) * words_ + w] = row(t)[w];
        }
        rows_.swap(rows);
        mask_ = capacity - 1;
    }

    // Flips a detection of a layer that is held or still to come.
    void flip(int64_t layer, int32_t site) {
        reach(layer);
        row(layer)[site >> 6] ^= uint64_t{1} << (site & 63);
    }

    // Drops the layers before this one.
    void forget(int64_t before) {
        const int64_t stop = std::min(before, first_ + mask_ + 1);
        for (int64_t t = first_; t < stop; t++) std::fill_n(row(t), words_, 0);
        first_ = std::max(first_, before);
    }

    // Back to layer 0, and no detections.
    void clear() {
        std::fill(rows_.begin(), rows_.end(), 0);
        first_ = 0;
    }

    int64_t capacity() const { return mask_ + 1; }

  private:
    int32_t words_;
    std::vector<uint64_t> rows_;
    int64_t first_ = 0, mask_ = 0;
};

}  // namespace qecpipe::streams
