// Scans of rows, and bits of packed rows (LSB first).
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed rows are read as little-endian words");

namespace bits {

// Reads `count` bits; words are left zero behind them, whatever pads the last byte.
inline void load(const uint8_t* packed, int64_t count, std::vector<uint64_t>& words) {
    if (words.empty()) return;
    words.back() = 0;
    std::memcpy(words.data(), packed, (count + 7) / 8);
    if (count % 64) words.back() &= (uint64_t{1} << (count % 64)) - 1;
}

inline void flip(std::vector<uint64_t>& words, int32_t bit) { words[bit / 64] ^= uint64_t{1} << (bit % 64); }

template <class Visitor>
void for_each(const std::vector<uint64_t>& words, Visitor visit) {
    for (size_t k = 0; k < words.size(); k++) {
        for (uint64_t word = words[k]; word; word &= word - 1) {
            visit(static_cast<int32_t>(64 * k) + __builtin_ctzll(word));
        }
    }
}

// Calls visit(k) for every k with row[k] > 0, in order.
template <class Visitor>
void for_each_positive(const float* row, int64_t count, Visitor visit) {
    int64_t k = 0;
#ifdef __SSE2__
    const auto positive = [&](int64_t at) {
        return _mm_castps_si128(_mm_cmpgt_ps(_mm_loadu_ps(row + at), _mm_setzero_ps()));
    };
    const auto mask = [&](int64_t at) {  // of sixteen: each comparison narrowed to a byte, then to a bit
        const __m128i low = _mm_packs_epi32(positive(at), positive(at + 4));
        const __m128i high = _mm_packs_epi32(positive(at + 8), positive(at + 12));
        return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
    };
    for (; k + 32 <= count; k += 32) {
        uint32_t hits = mask(k) | mask(k + 16) << 16;
        for (; hits; hits &= hits - 1) visit(k + __builtin_ctz(hits));
    }
#endif
    for (; k < count; k++) {
        if (row[k] > 0) visit(k);
    }
}

// Calls visit(k) for every k with row[k] != 0, in order.
template <class Visitor>
void for_each_set(const uint8_t* row, int64_t count, Visitor visit) {
    int64_t k = 0;
    for (; k + 32 <= count; k += 32) {
        uint64_t words[4];
        std::memcpy(words, row + k, 32);
        if (!(words[0] | words[1] | words[2] | words[3])) continue;
        for (int64_t j = k; j < k + 32; j++) {
            if (row[j]) visit(j);
        }
    }
    for (; k < count; k++) {
        if (row[k]) visit(k);
    }
}

}  // namespace bits
