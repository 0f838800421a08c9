// Vectors of 16-bit integers, of the instruction set that a file is compiled for.
//
// All of them have: scaled(a, b) = (a b + 2^14) / 2^15 rounded down; add, which wraps; add_saturated;
// pairs(sum, a, b): the sum and products of 16 bits, two by two to 32.
//
// dot(sum, a, b) adds the products of bytes, unsigned ones times signed ones, kInputs by kInputs: four to 32
// bits, or two to 16, which hold kExactInputs of them. The sums of kShorts outputs take kSums vectors, of
// which `outputs` makes one, by saturation. put_hidden stores a vector's numbers, cut to 0 to 127, as
// broadcast reads kInputs of them: as bytes, or as bytes with every pair twice.
#pragma once

#include <cstdint>
#include <cstring>

#include "network/tables.h"
#include "network/variants/intrinsics.h"

namespace qecpipe::network::QECPIPE_VARIANT {

// What compilers are not to rearrange. sum + x is computed where it is written: they would add up products
// first, as in a tree, for which there are not enough registers. And of several vectors all are computed
// before one of them is used.
#if defined(__AVX512F__)
#define QECPIPE_VECTOR "v"
#define QECPIPE_ADD "vpaddw %1, %0, %0"
#elif defined(__AVX__)
#define QECPIPE_VECTOR "x"
#define QECPIPE_ADD "vpaddw %1, %0, %0"
#else
#define QECPIPE_VECTOR "x"
#define QECPIPE_ADD "paddw %1, %0"
#endif
#if defined(__SSE4_1__)
template <class Vector>
inline Vector add_in_order(Vector sum, Vector x) {
    __asm__(QECPIPE_ADD : "+" QECPIPE_VECTOR(sum) : QECPIPE_VECTOR(x));
    return sum;
}
template <class Vector>
inline void keep_order(Vector& a) {
    __asm__("" : "+" QECPIPE_VECTOR(a));
}
template <class Vector>
inline void keep_order(Vector& a, Vector& b) {
    __asm__("" : "+" QECPIPE_VECTOR(a), "+" QECPIPE_VECTOR(b));
}
template <class Vector>
inline void keep_order(Vector& a, Vector& b, Vector& c) {
    __asm__("" : "+" QECPIPE_VECTOR(a), "+" QECPIPE_VECTOR(b), "+" QECPIPE_VECTOR(c));
}
#else
template <class... Vectors>
inline void keep_order(Vectors&...) {}
#endif
#undef QECPIPE_VECTOR
#undef QECPIPE_ADD

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

struct ShortVectors {
    using Vector = __m512i;
    static constexpr int kShorts = 32, kRegisters = 32;
    static constexpr int kInputs = 4, kSums = 2, kExactInputs = 2 * kChunk;
    using Hidden = uint8_t;

    static Vector load(const void* from) { return _mm512_loadu_si512(from); }
    static void store(void* to, Vector x) { _mm512_storeu_si512(to, x); }
    static Vector zero() { return _mm512_setzero_si512(); }
    static Vector scaled(Vector a, Vector b) { return _mm512_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm512_add_epi16(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm512_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm512_max_epi16(a, zero()); }
    static Vector outputs(const Vector* sums) { return _mm512_packs_epi32(sums[0], sums[1]); }
    static void put_hidden(Hidden* to, Vector x) {
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
    static Vector pairs(Vector sum, Vector a, Vector b) { return _mm512_dpwssd_epi32(sum, a, b); }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(words), _mm512_loadu_ps(scale)));
    }
};

#elif defined(__AVX2__)

struct ShortVectors {
    using Vector = __m256i;
    static constexpr int kShorts = 16, kRegisters = 16;
    static constexpr int kInputs = 2, kSums = 1, kExactInputs = kChunk;
    using Hidden = uint16_t;

    static Vector load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
    static void store(void* to, Vector x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }
    static Vector zero() { return _mm256_setzero_si256(); }
    static Vector scaled(Vector a, Vector b) { return _mm256_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm256_add_epi16(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm256_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm256_max_epi16(a, zero()); }
    static Vector outputs(const Vector* sums) { return sums[0]; }
    static void put_hidden(Hidden* to, Vector x) {
        const Vector bytes = _mm256_packs_epi16(positive(x), zero());
        store(to, _mm256_unpacklo_epi16(bytes, bytes));
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return _mm256_set1_epi32(word);
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        return add_in_order(sum, _mm256_maddubs_epi16(hidden, weights));
    }
    static Vector pairs(Vector sum, Vector a, Vector b) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(words), _mm256_loadu_ps(scale)));
    }
};

#elif defined(__SSE4_1__)

struct ShortVectors {
    using Vector = __m128i;
    static constexpr int kShorts = 8, kRegisters = 16;
    static constexpr int kInputs = 2, kSums = 1, kExactInputs = kChunk;
    using Hidden = uint16_t;

    static Vector load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
    static void store(void* to, Vector x) { _mm_storeu_si128(static_cast<__m128i*>(to), x); }
    static Vector zero() { return _mm_setzero_si128(); }
    static Vector scaled(Vector a, Vector b) { return _mm_mulhrs_epi16(a, b); }
    static Vector add(Vector a, Vector b) { return _mm_add_epi16(a, b); }
    static Vector add_saturated(Vector a, Vector b) { return _mm_adds_epi16(a, b); }
    static Vector positive(Vector a) { return _mm_max_epi16(a, zero()); }
    static Vector outputs(const Vector* sums) { return sums[0]; }
    static void put_hidden(Hidden* to, Vector x) {
        const Vector bytes = _mm_packs_epi16(positive(x), zero());
        store(to, _mm_unpacklo_epi16(bytes, bytes));
    }
    static Vector broadcast(const void* four_bytes) {
        int32_t word;
        std::memcpy(&word, four_bytes, sizeof word);
        return _mm_set1_epi32(word);
    }
    static Vector dot(Vector sum, Vector hidden, Vector weights) {
        return add_in_order(sum, _mm_maddubs_epi16(hidden, weights));
    }
    static Vector pairs(Vector sum, Vector a, Vector b) { return _mm_add_epi32(sum, _mm_madd_epi16(a, b)); }
    static void put_floats(float* to, Vector words, const float* scale) {
        _mm_storeu_ps(to, _mm_mul_ps(_mm_cvtepi32_ps(words), _mm_loadu_ps(scale)));
    }
};

#else

// Any machine: loops that compilers make vectors of.
struct ShortVectors {
    static constexpr int kShorts = 8, kRegisters = 16;
    static constexpr int kInputs = 4, kSums = 2, kExactInputs = 2 * kChunk;
    using Hidden = uint8_t;

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
    static Vector add_in_order(Vector a, Vector b) { return add(a, b); }
    static Vector add_saturated(Vector a, Vector b) {
        return each([&](int k) { return cut(int32_t{a.shorts[k]} + b.shorts[k]); });
    }
    static Vector positive(Vector a) {
        return each([&](int k) { return a.shorts[k] > 0 ? a.shorts[k] : 0; });
    }
    static Vector outputs(const Vector* sums) {
        constexpr int kWords = kShorts / 2;
        return each([&](int k) { return cut(sums[k / kWords].words[k % kWords]); });
    }
    static void put_hidden(Hidden* to, Vector x) {
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
    static Vector pairs(Vector sum, Vector a, Vector b) {
        return each_word([&](int k) {
            return sum.words[k] + int32_t{a.shorts[2 * k]} * b.shorts[2 * k] +
                   int32_t{a.shorts[2 * k + 1]} * b.shorts[2 * k + 1];
        });
    }
    static void put_floats(float* to, Vector words, const float* scale) {
        for (int k = 0; k < kShorts / 2; ++k) to[k] = static_cast<float>(words.words[k]) * scale[k];
    }
};

#endif

struct Lanes : ShortVectors {
    // Adds products with x to sums, which wrap.
    //
    // Several products come before the first sum: multiplications and additions in turn keep processors of
    // AMD's fourth generation from doing both at once.
    static void accumulate(Vector x, Vector a, Vector& sum) { sum = add_in_order(sum, scaled(x, a)); }
    static void accumulate(Vector x, Vector a, Vector& sum, Vector b, Vector& other) {
        Vector product = scaled(x, a), product_of_other = scaled(x, b);
        keep_order(product, product_of_other);
        sum = add_in_order(sum, product);
        other = add_in_order(other, product_of_other);
    }
    static void accumulate(Vector x, Vector a, Vector& sum, Vector b, Vector& other, Vector c,
                           Vector& third) {
        Vector product = scaled(x, a), product_of_other = scaled(x, b), product_of_third = scaled(x, c);
        keep_order(product, product_of_other, product_of_third);
        sum = add_in_order(sum, product);
        other = add_in_order(other, product_of_other);
        third = add_in_order(third, product_of_third);
    }
};

// The output, among kShorts of them, that a lane of one of kSums vectors is of, by how `outputs` packs them.
constexpr int output_of(int vector, int lane) {
    return Lanes::kSums == 1 ? lane : lane / 4 * 8 + vector * 4 + lane % 4;
}

}  // namespace qecpipe::network::QECPIPE_VARIANT
