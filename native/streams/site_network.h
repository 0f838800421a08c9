// A network on a stream's layers: rows of sites in, logits out.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "network/engine.h"
#include "streams/stream.h"

namespace qecpipe::streams {

// Runs a network of `native/network` layer by layer: every layer is computed once.
class SiteNetwork final : public LayerNetwork {
  public:
    // bits: of every site, its number among the detections of a layer, `network::detection_of`.
    //
    // Throws std::invalid_argument for a number that the patch does not have.
    SiteNetwork(std::shared_ptr<const network::Network> network,
                std::shared_ptr<const network::Timeline> timeline, std::vector<int64_t> bits)
        : stream_(std::move(network), std::move(timeline)), bits_(std::move(bits)),
          layer_(stream_.patch().layer_words()) {
        for (int64_t bit : bits_) {
            if (bit < 0 || bit >= 64 * std::ssize(layer_)) {
                throw std::invalid_argument("a site has bit " + std::to_string(bit) + " among the " +
                                            std::to_string(64 * layer_.size()) + " of a layer's detections");
            }
        }
    }

    void start() override { stream_.start(); }

    int64_t most() const override { return stream_.delay() + 1; }

    int64_t layer_size() const { return stream_.layer_size(); }

    int64_t push(const uint64_t* row, bool last, float* logits) override {
        std::fill(layer_.begin(), layer_.end(), 0);
        const size_t words = (bits_.size() + 63) / 64;
        for (size_t w = 0; w < words; w++) {
            for (uint64_t left = row[w]; left; left &= left - 1) {
                const int64_t bit = bits_[64 * w + std::countr_zero(left)];
                layer_[bit / 64] |= network::Detections{1} << (bit % 64);
            }
        }
        return stream_.push(layer_.data(), last, logits);
    }

  private:
    network::LayerStream stream_;
    std::vector<int64_t> bits_;
    std::vector<network::Detections> layer_;
};

}  // namespace qecpipe::streams
