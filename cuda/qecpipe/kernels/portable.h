// Lets one kernel source compile for a GPU (NVRTC) and, for tests, as C++17 for the CPU.
//
// On the CPU a kernel is an ordinary function, its indices are thread-local variables, and
// QECPIPE_HOST_LAUNCHER adds an entry `<kernel>_host(grid, block, void **args)` that runs the grid
// one thread after another, with the argument convention of cuLaunchKernel. Only what such a serial
// run can reproduce is defined: one-dimensional grids, no shared memory, no barriers, no atomics. A
// kernel that uses anything else fails to compile here rather than being tested wrongly.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i32 = int;
using i64 = long long;
static_assert(sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(i32) == 4 && sizeof(i64) == 8,
              "kernels assume these widths");

#ifdef __CUDACC__

#define QECPIPE_UNROLL _Pragma("unroll")
#define QECPIPE_HOST_LAUNCHER(kernel)

// One 128-bit store. `target` is 16-byte aligned.
__device__ __forceinline__ void store_16_bytes(void *target, u32 x, u32 y, u32 z, u32 w) {
    *static_cast<uint4 *>(target) = make_uint4(x, y, z, w);
}

#else  // C++17 on the CPU

#include <cstddef>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define QECPIPE_UNROLL

struct HostIndex {
    u32 x;
};
inline thread_local HostIndex threadIdx, blockIdx, blockDim, gridDim;

inline void store_16_bytes(void *target, u32 x, u32 y, u32 z, u32 w) {
    const u32 words[4] = {x, y, z, w};
    std::memcpy(target, words, sizeof(words));
}

template <typename... Params, std::size_t... I>
void run_host_grid(void (*kernel)(Params...), u32 grid, u32 block, void **args, std::index_sequence<I...>) {
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x)
            kernel(*static_cast<Params *>(args[I])...);
}

template <typename... Params>
void run_host_grid(void (*kernel)(Params...), u32 grid, u32 block, void **args) {
    run_host_grid(kernel, grid, block, args, std::index_sequence_for<Params...>{});
}

#define QECPIPE_HOST_LAUNCHER(kernel)                                          \
    extern "C" void kernel##_host(u32 grid, u32 block, void **args) {          \
        run_host_grid(kernel, grid, block, args);                              \
    }

#endif
