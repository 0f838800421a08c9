// As many 16-bit integers as a vector has 32-bit sums (`Lanes`): activations, in the order of channels.
//
// of_words(sum, scale): sums times float32 factors, rounded to the nearest (ties to even) and cut to 16 bits.
// scaled, add_saturated: as in Lanes. put_input: numbers cut to 0 to 255, as `Input`s.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "network/variants/intrinsics.h"
#include "network/variants/lanes.h"

namespace qecpipe::network::QECPIPE_VARIANT {

#if defined(__SSE4_1__)

// Sixteen bits of 128-bit vectors and narrower ones.
struct Half128 {
    using Half = __m128i;

    static Half set(int16_t x) { return _mm_set1_epi16(x); }
    static Half add(Half a, Half b) { return _mm_add_epi16(a, b); }
    static Half add_saturated(Half a, Half b) { return _mm_adds_epi16(a, b); }
    static Half subtract_saturated(Half a, Half b) { return _mm_subs_epi16(a, b); }
    static Half scaled(Half a, Half b) { return _mm_mulhrs_epi16(a, b); }
    static Half least(Half a, Half b) { return _mm_min_epi16(a, b); }
    static Half largest(Half a, Half b) { return _mm_max_epi16(a, b); }
    static Half shifted_left(Half a, int bits) { return _mm_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
    static Half byte_range(Half a) { return least(largest(a, _mm_setzero_si128()), set(255)); }
};

#endif

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

struct HalfLanes {
    using Half = __m256i;
    using Input = uint8_t;

    static Half load(const int16_t* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    }
    static void store(int16_t* to, Half x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
    static Half set(int16_t x) { return _mm256_set1_epi16(x); }
    static Half add(Half a, Half b) { return _mm256_add_epi16(a, b); }
    static Half add_saturated(Half a, Half b) { return _mm256_adds_epi16(a, b); }
    static Half subtract_saturated(Half a, Half b) { return _mm256_subs_epi16(a, b); }
    static Half scaled(Half a, Half b) { return _mm256_mulhrs_epi16(a, b); }
    static Half least(Half a, Half b) { return _mm256_min_epi16(a, b); }
    static Half largest(Half a, Half b) { return _mm256_max_epi16(a, b); }
    static Half shifted_left(Half a, int bits) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
    static Half of_words(__m512i sum, const float* scale) {
        // A number above 2^31 would become the least one; one below becomes that too.
        const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scale));
        return _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(INT16_MAX))));
    }
    static void put_input(Input* to, Half x) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                         _mm256_cvtusepi16_epi8(largest(x, _mm256_setzero_si256())));
    }
};

#elif defined(__AVX2__)

struct HalfLanes : Half128 {
    using Input = int16_t;

    static Half load(const int16_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
    static void store(int16_t* to, Half x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), x); }
    static Half of_words(__m256i sum, const float* scale) {
        const __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(scale));
        const __m256i words = _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(INT16_MAX)));
        return _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    }
    static void put_input(Input* to, Half x) { store(to, byte_range(x)); }
};

#elif defined(__SSE4_1__)

// The upper half of each vector means nothing.
struct HalfLanes : Half128 {
    using Input = int16_t;

    static Half load(const int16_t* from) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)); }
    static void store(int16_t* to, Half x) { _mm_storel_epi64(reinterpret_cast<__m128i*>(to), x); }
    static Half of_words(__m128i sum, const float* scale) {
        const __m128 x = _mm_mul_ps(_mm_cvtepi32_ps(sum), _mm_loadu_ps(scale));
        const __m128i words = _mm_cvtps_epi32(_mm_min_ps(x, _mm_set1_ps(INT16_MAX)));
        return _mm_packs_epi32(words, words);
    }
    static void put_input(Input* to, Half x) { store(to, byte_range(x)); }
};

#else

struct HalfLanes {
    static constexpr int kSize = Lanes::kShorts / 2;
    struct Half {
        int16_t shorts[kSize];
    };
    using Input = int16_t;

    template <class Function>
    static Half each(Function function) {
        Half x;
        for (int k = 0; k < kSize; ++k) x.shorts[k] = static_cast<int16_t>(function(k));
        return x;
    }
    static Half load(const int16_t* from) {
        Half x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
    static void store(int16_t* to, Half x) { std::memcpy(to, &x, sizeof x); }
    static Half set(int16_t x) {
        return each([&](int) { return x; });
    }
    static Half add(Half a, Half b) {
        return each([&](int k) { return a.shorts[k] + b.shorts[k]; });
    }
    static Half add_saturated(Half a, Half b) {
        return each([&](int k) { return Lanes::cut(int32_t{a.shorts[k]} + b.shorts[k]); });
    }
    static Half subtract_saturated(Half a, Half b) {
        return each([&](int k) { return Lanes::cut(int32_t{a.shorts[k]} - b.shorts[k]); });
    }
    static Half scaled(Half a, Half b) {
        return each([&](int k) { return (int32_t{a.shorts[k]} * b.shorts[k] + (1 << 14)) >> 15; });
    }
    static Half least(Half a, Half b) {
        return each([&](int k) { return a.shorts[k] < b.shorts[k] ? a.shorts[k] : b.shorts[k]; });
    }
    static Half largest(Half a, Half b) {
        return each([&](int k) { return a.shorts[k] > b.shorts[k] ? a.shorts[k] : b.shorts[k]; });
    }
    static Half shifted_left(Half a, int bits) {
        return each([&](int k) { return static_cast<uint16_t>(a.shorts[k]) << bits; });
    }
    static Half of_words(Lanes::Vector sum, const float* scale) {
        return each([&](int k) {
            const float x = static_cast<float>(sum.words[k]) * scale[k];
            return x >= INT16_MAX ? INT16_MAX : x <= INT16_MIN ? INT16_MIN : std::nearbyint(x);
        });
    }
    static void put_input(Input* to, Half x) {
        for (int k = 0; k < kSize; ++k)
            to[k] = static_cast<Input>(x.shorts[k] < 0 ? 0 : x.shorts[k] > 255 ? 255 : x.shorts[k]);
    }
};

#endif

}  // namespace qecpipe::network::QECPIPE_VARIANT
