// GELU of integers, in the same bits everywhere: max(x, 0) - q(|x|), where q(a) = a - gelu(a) is 0 beyond 4.
#pragma once

#include <cstdint>

#include "network/variants/half_lanes.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// q as a polynomial in y = |x| / 2 - 1, times 2^15: off by 2e-4 at most from torch's tanh approximation.
constexpr int16_t kGelu[] = {-2589, 1907, 7619, -10657, 645, 7263, -5674, 1483};

// Of numbers in units of 2^-bits, 5 <= bits <= 11; the same units.
class Gelu {
    using H = HalfLanes;

    H::Half last_, middle_, unit_;
    int shift_;

  public:
    explicit Gelu(int bits)
        : last_(H::set(static_cast<int16_t>((4 << bits) - 1))),
          middle_(H::set(static_cast<int16_t>(2 << bits))), unit_(H::set(static_cast<int16_t>(1 << bits))),
          shift_(14 - bits) {}

    H::Half operator()(H::Half x) const {
        const H::Half zero = H::set(0), size = H::largest(x, H::subtract_saturated(zero, x));
        const H::Half y = H::shifted_left(H::subtract_saturated(H::least(size, last_), middle_), shift_);
        H::Half q = H::set(kGelu[0]);
#pragma GCC unroll 16
        for (int k = 1; k < static_cast<int>(sizeof kGelu / sizeof *kGelu); ++k)
            q = H::add(H::scaled(q, y), H::set(kGelu[k]));
        return H::subtract_saturated(H::largest(x, zero), H::scaled(q, unit_));
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
