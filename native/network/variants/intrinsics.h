// Vector instructions, where the machine's kind has intrinsics for them.
#pragma once

#if defined(__x86_64__)
// GCC 12 takes what its own headers leave undefined on purpose for an oversight of ours.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
