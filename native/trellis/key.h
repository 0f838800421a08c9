// The bits of a state: one for each open detector and each observable.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trellis {

__extension__ using WideKey = unsigned __int128;
using NarrowKey = uint64_t;  // where 64 bits are enough, which takes less time

template <class Key>
Key bit_of(int32_t k) {
    return static_cast<Key>(1) << k;
}

inline size_t hash(NarrowKey key) {
    const uint64_t mixed = key * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(mixed ^ mixed >> 32);
}

inline size_t hash(WideKey key) {
    return hash(static_cast<NarrowKey>(key) ^ static_cast<NarrowKey>(key >> 64) * 0xC2B2AE3D27D4EB4Fu);
}

}  // namespace trellis
