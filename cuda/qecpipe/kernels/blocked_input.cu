// Bit-packed detections -> the pre-decoder network's blocked input (space-time blocking, 2x2x2
// voxels folded into channels).
//
//   packed  u8   [shots, row_bytes]    little-endian bits, bit d of a row is detector d
//   source  i32  [8, voxels]           detector of channel c = 4*dt + 2*di + dj, block (t, i, j), or -1
//   out     Lane [shots, voxels, 16]   channels last: 8 detection bits, then 8 presence flags
//
// `voxels` is Tb*Ib*Jb. A thread builds the 16 channels of one voxel in registers and writes them with
// 128-bit stores; neighbouring threads read neighbouring entries of `source` and write neighbouring
// voxels. Elements are written as bit patterns, so that half types need no header.
#include "portable.h"

constexpr int kSourceChannels = 8;

template <typename Lane, u32 kOne>
__device__ __forceinline__ void fill_blocked_input(const u8* __restrict__ packed,
                                                   const i32* __restrict__ source, Lane* __restrict__ out,
                                                   i64 shots, i64 row_bytes, i64 voxels, i64 detectors) {
    constexpr int kLanesPerWord = 4 / sizeof(Lane);
    constexpr int kWords = 2 * kSourceChannels / kLanesPerWord;
    const i64 total = shots * voxels;
    const i64 stride = static_cast<i64>(gridDim.x) * blockDim.x;
    for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < total;
         index += stride) {
        const i64 shot = index / voxels;
        const i64 voxel = index - shot * voxels;
        const u8* row = packed + shot * row_bytes;
        u32 words[kWords] = {};
        QECPIPE_UNROLL
        for (int c = 0; c < kSourceChannels; ++c) {
            const i32 detector = source[c * voxels + voxel];
            const bool present = detector >= 0 && detector < detectors;
            const u32 fired = present ? (row[detector >> 3] >> (detector & 7)) & 1u : 0u;
            // Both targets are 32-bit words that hold kLanesPerWord lanes, lowest lane first.
            const int shift = 8 * static_cast<int>(sizeof(Lane)) * (c % kLanesPerWord);
            words[c / kLanesPerWord] |= (fired * kOne) << shift;
            words[(c + kSourceChannels) / kLanesPerWord] |= (present ? kOne : 0u) << shift;
        }
        u8* target = reinterpret_cast<u8*>(out + index * (2 * kSourceChannels));
        QECPIPE_UNROLL
        for (int w = 0; w < kWords; w += 4)
            store_16_bytes(target + 4 * w, words[w], words[w + 1], words[w + 2], words[w + 3]);
    }
}

#define BLOCKED_INPUT_KERNEL(name, Lane, one)                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        name(const u8* packed, const i32* source, Lane* out, i64 shots, i64 row_bytes, i64 voxels, \
             i64 detectors) {                                                                      \
        fill_blocked_input<Lane, one>(packed, source, out, shots, row_bytes, voxels, detectors);   \
    }                                                                                              \
    QECPIPE_THREAD_KERNEL(name)

BLOCKED_INPUT_KERNEL(blocked_input_float32, u32, 0x3F800000u)
BLOCKED_INPUT_KERNEL(blocked_input_float16, u16, 0x3C00u)
BLOCKED_INPUT_KERNEL(blocked_input_bfloat16, u16, 0x3F80u)
BLOCKED_INPUT_KERNEL(blocked_input_uint8, u8, 1u)
