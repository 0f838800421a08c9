// The gradient of a depthwise 3 x 3 x 3 convolution to its weights, for training.
#pragma once

#include <cstdint>

#include "core/cpu.h"

namespace qecpipe::network {

constexpr int kGradientLanes = 8;  // the number of channels is a multiple

// x, gradient (to the output): [shots][layers][rows][columns][channels]; result: [27][channels]. In one
// thread.
using StencilGradient = void (*)(const float* x, const float* gradient, int64_t shots, int64_t layers,
                                 int64_t rows, int64_t columns, int64_t channels, float* result);

StencilGradient stencil_gradient(cpu::Variant variant);

}  // namespace qecpipe::network
