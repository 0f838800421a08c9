// Code that is compiled once per instruction set: how to declare and how to choose it.
//
// A file in a `variants` folder puts all it has in a namespace QECPIPE_VARIANT. Elsewhere, with
//
//     #define X(variant) namespace variant { void work(float* x); }
//     QECPIPE_FOR_EACH_VARIANT(X)
//     #undef X
//
// all of them are declared, and a `case cpu::Variant::variant: return variant::work;` chooses one. Such a
// file must keep away from what other objects share: no inline function or template of another header may do
// its work, as the linker keeps one instance of those for all.
#pragma once

#include "core/cpu.h"

#ifdef QECPIPE_HAS_AVX2
#define QECPIPE_FOR_AVX2(X) X(avx2)
#else
#define QECPIPE_FOR_AVX2(X)
#endif
#ifdef QECPIPE_HAS_AVX512
#define QECPIPE_FOR_AVX512(X) X(avx512)
#else
#define QECPIPE_FOR_AVX512(X)
#endif
#ifdef QECPIPE_HAS_AMX
#define QECPIPE_FOR_AMX(X) X(amx)
#else
#define QECPIPE_FOR_AMX(X)
#endif

// X(name) for every instruction set that is compiled in, from the least to the most demanding.
#define QECPIPE_FOR_EACH_VARIANT(X) X(baseline) QECPIPE_FOR_AVX2(X) QECPIPE_FOR_AVX512(X) QECPIPE_FOR_AMX(X)
