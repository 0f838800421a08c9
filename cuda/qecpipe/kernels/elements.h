// Elements of the network's output as float32. They are read as bit patterns, so that half types need no
// header.
#pragma once

#include "portable.h"

struct Float32 {
    using Bits = u32;
    __device__ __forceinline__ static f32 value(Bits bits) { return float_of_bits(bits); }
};

struct BFloat16 {
    using Bits = u16;
    __device__ __forceinline__ static f32 value(Bits bits) {
        return float_of_bits(static_cast<u32>(bits) << 16);
    }
};

struct Float16 {
    using Bits = u16;
    __device__ __forceinline__ static f32 value(Bits bits) {
        const u32 exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
        const u32 sign = static_cast<u32>(bits & 0x8000u) << 16;
        if (exponent == 0) {  // zero, or below 2^-14: a whole number of 2^-24
            const f32 size = static_cast<f32>(mantissa) * 5.9604644775390625e-8f;
            return sign ? -size : size;
        }
        const u32 biased = exponent == 31 ? 255u : exponent + 112u;  // infinite and NaN stay so
        return float_of_bits(sign | biased << 23 | mantissa << 13);
    }
};
