// The network's logits -> int8 logits of the moves that exist, in the matcher's order: a quarter of the bytes
// that cross to the host, or less.
//
//   logits  Bits [shots, volume]   the network's output, in whatever order `places` knows
//   places  i32  [moves]           where each move stands in a shot's output
//   out     i8   [shots, moves]    with room for a multiple of 4 bytes; those behind the last are 0
//
// A byte is rint(logit * scale), halves to even, from -127 to 127, and 0 for NaN. A thread writes words of
// four moves, which may be of two shots.
#include "elements.h"

// A product beyond 127 in size is 127, before it is rounded; NaN fails every comparison.
__device__ __forceinline__ i32 quantized(f32 product) {
    if (!(product == product)) return 0;
    const f32 most = 127.0f;
    return static_cast<i32>(nearest_even(product > most ? most : product < -most ? -most : product));
}

template <typename Element>
__device__ __forceinline__ void quantize_moves(const typename Element::Bits* __restrict__ logits,
                                               const i32* __restrict__ places, u32* __restrict__ out,
                                               i64 shots, i64 volume, i64 moves, f32 scale) {
    const i64 total = shots * moves, words = (total + 3) / 4;
    const i64 stride = static_cast<i64>(gridDim.x) * blockDim.x;
    for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < words;
         index += stride) {
        i64 shot = 4 * index / moves;
        i64 move = 4 * index - shot * moves;
        u32 word = 0;
        QECPIPE_UNROLL
        for (int b = 0; b < 4; ++b) {
            if (shot < shots) {
                const f32 logit = Element::value(logits[shot * volume + places[move]]);
                word |= (static_cast<u32>(quantized(logit * scale)) & 255u) << (8 * b);
            }
            if (++move == moves) {
                move = 0;
                ++shot;
            }
        }
        out[index] = word;
    }
}

#define QUANTIZE_MOVES_KERNEL(name, Element)                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                    \
        name(const Element::Bits* logits, const i32* places, u32* out, i64 shots, i64 volume, i64 moves, \
             f32 scale) {                                                                                \
        quantize_moves<Element>(logits, places, out, shots, volume, moves, scale);                       \
    }                                                                                                    \
    QECPIPE_THREAD_KERNEL(name)

QUANTIZE_MOVES_KERNEL(quantize_moves_float32, Float32)
QUANTIZE_MOVES_KERNEL(quantize_moves_float16, Float16)
QUANTIZE_MOVES_KERNEL(quantize_moves_bfloat16, BFloat16)
