// The gradient of a depthwise 3 x 3 x 3 convolution to its weights.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "network/stencil_gradient.h"

namespace qecpipe::network::QECPIPE_VARIANT {

namespace {

constexpr int kLanes = 8;
constexpr int kTaps = 27;

typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4)));

// Adds to three taps' sums what one row of the input and of the gradient give them. Rows are
// [columns][channels].
void add_row(float* sums, const float* x, const float* gradient, int64_t columns, int64_t channels) {
    for (int64_t c = 0; c < channels; c += kLanes) {
        const auto at = [&](const float* row, int64_t j) {
            return *reinterpret_cast<const Lanes*>(row + j * channels + c);
        };
        Lanes left = {}, middle = {}, right = {}, before = {}, here = at(x, 0);
        for (int64_t j = 0; j < columns; ++j) {
            const Lanes after = j + 1 < columns ? at(x, j + 1) : Lanes{}, g = at(gradient, j);
            left += g * before;
            middle += g * here;
            right += g * after;
            before = here;
            here = after;
        }
        for (const Lanes& sum : {left, middle, right}) {
            *reinterpret_cast<Lanes*>(sums + c) += sum;
            sums += channels;
        }
        sums -= 3 * channels;
    }
}

}  // namespace

void stencil_gradient(const float* x, const float* gradient, int64_t shots, int64_t layers, int64_t rows,
                      int64_t columns, int64_t channels, float* result) {
    const int64_t row_size = columns * channels;
    std::fill_n(result, kTaps * channels, 0.0f);
    std::vector<float> sums(kTaps * channels);
    for (int64_t s = 0; s < shots; ++s) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t t = 0; t < layers; ++t)
            for (int64_t i = 0; i < rows; ++i)
                for (int tap = 0; tap < kTaps; tap += 3) {
                    const int64_t from_t = t + tap / 9 - 1, from_i = i + tap / 3 % 3 - 1;
                    if (from_t < 0 || from_t >= layers || from_i < 0 || from_i >= rows) continue;
                    add_row(sums.data() + tap * channels,
                            x + ((s * layers + from_t) * rows + from_i) * row_size,
                            gradient + ((s * layers + t) * rows + i) * row_size, columns, channels);
                }
        // Shot by shot, so that a long batch's sums lose no digits.
        for (int64_t k = 0; k < kTaps * channels; ++k) result[k] += sums[k];
    }
}
}  // namespace qecpipe::network::QECPIPE_VARIANT
