// The logits of the layers that windows are matched on: a ring of rows.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace qecpipe::streams {

// Rows of layers [first, first + capacity).
class LogitRing {
  public:
    explicit LogitRing(int32_t layer_size) : size_(layer_size), rows_(layer_size) {}

    const float* row(int64_t layer) const { return rows_.data() + (layer & mask_) * size_; }

    // Keeps the logits of a layer. Allocates only where more layers are held than ever before.
    void put(int64_t layer, const float* logits) {
        if (size_ == 0) return;
        reach(layer);
        std::copy_n(logits, size_, rows_.data() + (layer & mask_) * size_);
    }

    // Drops the layers before this one.
    void forget(int64_t before) { first_ = std::max(first_, before); }

    void clear() { first_ = 0; }

  private:
    void reach(int64_t layer) {
        if (layer - first_ <= mask_) return;
        const int64_t capacity = std::bit_ceil(static_cast<uint64_t>(layer - first_ + 1));
        std::vector<float> rows(capacity * size_);
        for (int64_t t = first_; t <= first_ + mask_; t++) {
            std::copy_n(row(t), size_, rows.data() + (t & (capacity - 1)) * size_);
        }
        rows_.swap(rows);
        mask_ = capacity - 1;
    }

    int32_t size_;
    std::vector<float> rows_;
    int64_t first_ = 0, mask_ = 0;
};

}  // namespace qecpipe::streams
