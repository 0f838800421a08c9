// Vectors of 16-bit integers, of the instruction set that a file is compiled for.
//
// All of them have: scaled(a, b) = (a b + 2^14) / 2^15 rounded down; add_saturated; packed(a, b), two vectors
// of 32 bits to one of 16 by saturation; put_hidden, which stores a vector's numbers, cut to 0 to 127, as
// bytes; and dot, which adds the products of bytes, unsigned ones times signed ones, four by four to 32 bits
// (kExact), or two by two to 16, where `widened` adds up the pairs. pairs(a, b): products of 16 bits, two by
// two to 32.
//
// packed() works within each 128 bits. Outputs of a matrix product are therefore kept in the order that it
// straightens out: `output_of`. accumulate(sum, a, b): sum + scaled(a, b), which wraps.
#pragma once

#include <cstdint>
#include <cstring>

#include "network/variants/intrinsics.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// Sums are computed where they are written: compilers would add up the products first, as in a tree, for
// which there are not enough registers.
#if defined(__x86_64__)
template <class Vector>
inline void keep_order(Vector& sum) {
    __asm__("" : "+x"(sum));
}
#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

struct Lanes {
    using Vector = __m512i;
    static constexpr int kShorts = 32, kRegisters = 32;
    static constexpr bool kExact = true;

    static Vector load(const void* from) { return _mm512_loadu_si512(from); }
    static void store(void* to, Vector x) { _mm512_storeu_si512(to, x); }
    static Vector zero() { return _mm512_setzero_si512(); }
    static Vector scaled(Vector a, Vector b) { return _mm512_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm512_add_epi16(a, b); }
    static Vector accumulate(Vector sum, Vector a, Vector b) { return add(sum, scaled(a, b)); }
    static Vector add_words(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm512_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm512_max_epi16(a, zero()); }
    static Vector packed(Vector a, Vector b) { return _mm512_packs_epi32(a, b); }
    static void put_hidden(uint8_t* to, Vector x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi16_epi8(positive(x)));
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return _mm512_set1_epi32(word);
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        return _mm512_dpbusd_epi32(sum, hidden, weights);
    }
    static Vector widened(Vector sum) { return sum; }
    static Vector pairs(Vector sum, Vector a, Vector b) { return _mm512_dpwssd_epi32(sum, a, b); }
    static Vector cut_words(Vector x) {
        return _mm512_min_epi32(_mm512_max_epi32(x, _mm512_set1_epi32(INT16_MIN)),
                                _mm512_set1_epi32(INT16_MAX));
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(words), _mm512_loadu_ps(scale)));
    }
};

#elif defined(__AVX2__)

struct Lanes {
    using Vector = __m256i;
    static constexpr int kShorts = 16, kRegisters = 16;
    static constexpr bool kExact = false;

    static Vector load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
    static void store(void* to, Vector x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }
    static Vector zero() { return _mm256_setzero_si256(); }
    static Vector scaled(Vector a, Vector b) { return _mm256_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm256_add_epi16(a, b); }
    static Vector accumulate(Vector sum, Vector a, Vector b) { return add(sum, scaled(a, b)); }
    static Vector add_words(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm256_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm256_max_epi16(a, zero()); }
    static Vector packed(Vector a, Vector b) { return _mm256_packs_epi32(a, b); }
    static void put_hidden(uint8_t* to, Vector x) {
        const Vector bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(positive(x), zero()), 0x08);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return _mm256_set1_epi32(word);
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        sum = add(sum, _mm256_maddubs_epi16(hidden, weights));
        keep_order(sum);
        return sum;
    }
    static Vector widened(Vector sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
    static Vector pairs(Vector sum, Vector a, Vector b) { return add_words(sum, _mm256_madd_epi16(a, b)); }
    static Vector cut_words(Vector x) {
        return _mm256_min_epi32(_mm256_max_epi32(x, _mm256_set1_epi32(INT16_MIN)),
                                _mm256_set1_epi32(INT16_MAX));
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(words), _mm256_loadu_ps(scale)));
    }
};

#elif defined(__SSE4_1__)

struct Lanes {
    using Vector = __m128i;
    static constexpr int kShorts = 8, kRegisters = 16;
    static constexpr bool kExact = false;

    static Vector load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
    static void store(void* to, Vector x) { _mm_storeu_si128(static_cast<__m128i*>(to), x); }
    static Vector zero() { return _mm_setzero_si128(); }
    static Vector scaled(Vector a, Vector b) { return _mm_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm_add_epi16(a, b); }
    static Vector accumulate(Vector sum, Vector a, Vector b) { return add(sum, scaled(a, b)); }
    static Vector add_words(Vector a, Vector b) { return _mm_add_epi32(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm_max_epi16(a, zero()); }
    static Vector packed(Vector a, Vector b) { return _mm_packs_epi32(a, b); }
    static void put_hidden(uint8_t* to, Vector x) {
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(positive(x), zero()));
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return _mm_set1_epi32(word);
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        sum = add(sum, _mm_maddubs_epi16(hidden, weights));
        keep_order(sum);
        return sum;
    }
    static Vector widened(Vector sum) { return _mm_madd_epi16(sum, _mm_set1_epi16(1)); }
    static Vector pairs(Vector sum, Vector a, Vector b) { return add_words(sum, _mm_madd_epi16(a, b)); }
    static Vector cut_words(Vector x) {
        return _mm_min_epi32(_mm_max_epi32(x, _mm_set1_epi32(INT16_MIN)), _mm_set1_epi32(INT16_MAX));
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm_storeu_ps(to, _mm_mul_ps(_mm_cvtepi32_ps(words), _mm_loadu_ps(scale)));
    }
};

#else

// Any machine: loops that compilers make vectors of.
struct Lanes {
    static constexpr int kShorts = 8, kRegisters = 16;
    static constexpr bool kExact = true;

    union Vector {
        int16_t shorts[kShorts];
        int32_t words[kShorts / 2];
        int8_t bytes[2 * kShorts];
    };

    static int16_t cut(int32_t x) {
        return static_cast<int16_t>(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x);
    }
    template <class Function>
    static Vector each(Function function) {
        Vector x;
        for (int k = 0; k < kShorts; ++k) x.shorts[k] = static_cast<int16_t>(function(k));
        return x;
    }
    template <class Function>
    static Vector each_word(Function function) {
        Vector x;
        for (int k = 0; k < kShorts / 2; ++k) x.words[k] = function(k);
        return x;
    }

    static Vector load(const void* from) {
        Vector x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
    static void store(void* to, Vector x) { std::memcpy(to, &x, sizeof x); }
    static Vector zero() {
        return each([](int) { return 0; });
    }
    static Vector scaled(Vector a, Vector b) {
        return each([&](int k) { return (int32_t{a.shorts[k]} * b.shorts[k] + (1 << 14)) >> 15; });
    }
    static Vector add(Vector a, Vector b) {
        return each([&](int k) { return a.shorts[k] + b.shorts[k]; });
    }
    static Vector accumulate(Vector sum, Vector a, Vector b) { return add(sum, scaled(a, b)); }
    static Vector add_words(Vector a, Vector b) {
        return each_word([&](int k) { return a.words[k] + b.words[k]; });
    }
    static Vector add_saturated(Vector a, Vector b) {
        return each([&](int k) { return cut(int32_t{a.shorts[k]} + b.shorts[k]); });
    }
    static Vector positive(Vector a) {
        return each([&](int k) { return a.shorts[k] > 0 ? a.shorts[k] : 0; });
    }
    static Vector packed(Vector a, Vector b) {
        constexpr int kWords = kShorts / 2;
        return each([&](int k) { return cut(k < kWords ? a.words[k] : b.words[k - kWords]); });
    }
    static void put_hidden(uint8_t* to, Vector x) {
        for (int k = 0; k < kShorts; ++k)
            to[k] = static_cast<uint8_t>(x.shorts[k] < 0 ? 0 : x.shorts[k] > 127 ? 127 : x.shorts[k]);
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return each_word([&](int) { return word; });
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        return each_word([&](int k) {
            int32_t total = sum.words[k];
            for (int byte = 4 * k; byte < 4 * k + 4; ++byte)
                total += hidden.bytes[byte] * weights.bytes[byte];
            return total;
        });
    }
    static Vector widened(Vector sum) { return sum; }
    static Vector pairs(Vector sum, Vector a, Vector b) {
        return each_word([&](int k) {
            return sum.words[k] + int32_t{a.shorts[2 * k]} * b.shorts[2 * k] +
                   int32_t{a.shorts[2 * k + 1]} * b.shorts[2 * k + 1];
        });
    }
    static Vector cut_words(Vector x) {
        return each_word([&](int k) { return int32_t{cut(x.words[k])}; });
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        for (int k = 0; k < kShorts / 2; ++k) to[k] = static_cast<float>(words.words[k]) * scale[k];
    }
};

#endif

// The output, among kShorts of them, that lane `lane` of the first or second vector of 32-bit sums is of.
constexpr int output_of(int vector, int lane) { return lane / 4 * 8 + vector * 4 + lane % 4; }

}  // namespace qecpipe::network::QECPIPE_VARIANT
