// Vectors of float32, of the instruction set that a file is compiled for.
//
// Where it has fused multiply-add, `accumulate` rounds once instead of twice: results of two instruction sets
// differ by rounding.
#pragma once

#include <cstring>

#include "network/variants/intrinsics.h"

namespace qecpipe::network::QECPIPE_VARIANT {

#if defined(__AVX512F__)

struct FloatVectors {
    using Vector = __m512;
    static constexpr int kFloats = 16, kRegisters = 32;

    static Vector load(const float* from) { return _mm512_loadu_ps(from); }
    static void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
    static Vector broadcast(float x) { return _mm512_set1_ps(x); }
    static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
    static Vector positive(Vector a) { return _mm512_max_ps(a, _mm512_setzero_ps()); }
    static void accumulate(Vector x, Vector a, Vector& sum) { sum = _mm512_fmadd_ps(x, a, sum); }
};

#elif defined(__AVX2__) && defined(__FMA__)

struct FloatVectors {
    using Vector = __m256;
    static constexpr int kFloats = 8, kRegisters = 16;

    static Vector load(const float* from) { return _mm256_loadu_ps(from); }
    static void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
    static Vector broadcast(float x) { return _mm256_set1_ps(x); }
    static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
    static Vector positive(Vector a) { return _mm256_max_ps(a, _mm256_setzero_ps()); }
    static void accumulate(Vector x, Vector a, Vector& sum) { sum = _mm256_fmadd_ps(x, a, sum); }
};

#else

struct FloatVectors {
    typedef float Vector __attribute__((vector_size(16)));
    static constexpr int kFloats = 4, kRegisters = 16;

    static Vector load(const float* from) {
        Vector x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
    static void store(float* to, Vector x) { std::memcpy(to, &x, sizeof x); }
    static Vector broadcast(float x) { return Vector{x, x, x, x}; }
    static Vector add(Vector a, Vector b) { return a + b; }
    static Vector positive(Vector a) { return a > 0 ? a : Vector{}; }
    static void accumulate(Vector x, Vector a, Vector& sum) { sum += x * a; }
};

#endif

struct FloatLanes : FloatVectors {
    using FloatVectors::accumulate;

    // Adds products with x to several sums.
    template <class... More>
    static void accumulate(Vector x, Vector a, Vector& sum, More&... more) {
        accumulate(x, a, sum);
        accumulate(x, more...);
    }
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
