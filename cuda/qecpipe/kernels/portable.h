// Lets one kernel source compile for a GPU (NVRTC) and as C++17 for the CPU.
//
// There are two kinds of kernels. One of independent threads loops over the grid by itself and ends with
// QECPIPE_THREAD_KERNEL(name). One of blocks works in phases: QECPIPE_FOR_THREADS shares a loop among the
// block's threads, end_phase() lets all of them finish, and nothing but `any_thread` carries over from one
// phase to the next; it ends with QECPIPE_BLOCK_KERNEL(name). In a phase no iteration reads what another one
// writes.
//
// On the CPU a kernel is an ordinary function, its indices are thread-local variables, and the threads of a
// grid, or of a phase, run one after another: forwards or, so that tests can show that the order does not
// matter, backwards. Only what such a run can reproduce is defined: one-dimensional grids, no shared memory,
// no atomics, no warp operations. A kernel that uses anything else fails to compile here rather than being
// tested wrongly.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i8 = signed char;
using i32 = int;
using i64 = long long;
using f32 = float;
static_assert(sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(i32) == 4 && sizeof(i64) == 8 &&
                  sizeof(f32) == 4,
              "kernels assume these widths");

#ifdef __CUDACC__

#define QECPIPE_UNROLL _Pragma("unroll")
#define QECPIPE_UNROLL_BY(times) _Pragma(QECPIPE_TEXT(unroll times))
#define QECPIPE_TEXT(words) #words
#define QECPIPE_THREAD_KERNEL(kernel)
#define QECPIPE_BLOCK_KERNEL(kernel)
#define QECPIPE_FOR_THREADS(index, count) for (i32 index = threadIdx.x; index < (count); index += blockDim.x)

__device__ __forceinline__ void end_phase() { __syncthreads(); }

// Ends a phase; whether any thread of the block gave true.
__device__ __forceinline__ bool any_thread(bool value) { return __syncthreads_or(value); }

// One 128-bit store. `target` is 16-byte aligned.
__device__ __forceinline__ void store_16_bytes(void* target, u32 x, u32 y, u32 z, u32 w) {
    *static_cast<uint4*>(target) = make_uint4(x, y, z, w);
}

__device__ __forceinline__ f32 float_of_bits(u32 bits) { return __uint_as_float(bits); }

__device__ __forceinline__ f32 nearest_even(f32 value) { return rintf(value); }

// The number of the lowest bit that is set; `word` is not 0.
__device__ __forceinline__ i32 lowest_bit(u32 word) { return __ffs(word) - 1; }

#else  // C++17 on the CPU

#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define QECPIPE_UNROLL
#define QECPIPE_UNROLL_BY(times)
// All threads of a phase, each over the indices that it has on a GPU.
#define QECPIPE_FOR_THREADS(index, count)                                                             \
    for (u32 thread_number = 0; host_thread(thread_number, blockDim.x, threadIdx.x); ++thread_number) \
        for (i32 index = static_cast<i32>(threadIdx.x); index < (count);                              \
             index += static_cast<i32>(blockDim.x))

struct HostIndex {
    u32 x;
};
inline thread_local HostIndex threadIdx, blockIdx, blockDim, gridDim;
inline thread_local bool host_backwards = false;

// The index that comes as the `number`-th of `count`; false behind the last.
inline bool host_thread(u32 number, u32 count, u32& index) {
    index = host_backwards ? count - 1 - number : number;
    return number < count;
}

inline void end_phase() {}

inline bool any_thread(bool value) { return value; }

inline void store_16_bytes(void* target, u32 x, u32 y, u32 z, u32 w) {
    const u32 words[4] = {x, y, z, w};
    std::memcpy(target, words, sizeof(words));
}

inline f32 float_of_bits(u32 bits) {
    f32 value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

inline f32 nearest_even(f32 value) { return std::nearbyint(value); }

inline i32 lowest_bit(u32 word) { return __builtin_ctz(word); }

// A kernel as the host finds it by its name. `parameters` has a letter for each: p a pointer, i an i64, f an
// f32; `run` takes pointers to the arguments, as cuLaunchKernel does.
struct HostKernel {
    std::string parameters;
    void (*run)(u32 grid, u32 block, void** arguments);
};

inline std::map<std::string, HostKernel>& host_kernels() {
    static std::map<std::string, HostKernel> kernels;
    return kernels;
}

template <typename T>
constexpr char kHostParameter = '?';
template <typename T>
constexpr char kHostParameter<T*> = 'p';
template <>
inline constexpr char kHostParameter<i64> = 'i';
template <>
inline constexpr char kHostParameter<f32> = 'f';

template <bool kOfThreads, typename... Params, std::size_t... I>
void run_host_grid(void (*kernel)(Params...), u32 grid, u32 block, void** arguments,
                   std::index_sequence<I...>) {
    gridDim.x = grid;
    blockDim.x = block;
    for (u32 b = 0; host_thread(b, grid, blockIdx.x); ++b) {
        // A kernel of blocks runs all of its threads itself.
        for (u32 t = 0; host_thread(t, kOfThreads ? block : 1, threadIdx.x); ++t) {
            kernel(*static_cast<Params*>(arguments[I])...);
        }
    }
}

template <bool kOfThreads, auto kKernel>
struct HostEntry;
template <bool kOfThreads, typename... Params, void (*kKernel)(Params...)>
struct HostEntry<kOfThreads, kKernel> {
    static_assert(((kHostParameter<Params> != '?') && ...),
                  "a kernel's parameters are pointers, i64 and f32");

    explicit HostEntry(const char* name) { host_kernels()[name] = {{kHostParameter<Params>...}, &run}; }

    static void run(u32 grid, u32 block, void** arguments) {
        run_host_grid<kOfThreads>(kKernel, grid, block, arguments, std::index_sequence_for<Params...>{});
    }
};

#define QECPIPE_THREAD_KERNEL(kernel) static const HostEntry<true, &kernel> kernel##_entry(#kernel);
#define QECPIPE_BLOCK_KERNEL(kernel) static const HostEntry<false, &kernel> kernel##_entry(#kernel);

#endif
