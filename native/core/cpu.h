// Which of the instruction sets that files in `variants` folders are compiled for this machine can run.
#pragma once

#include <string_view>
#include <vector>

namespace qecpipe::cpu {

// From the least to the most demanding. A machine that runs one runs those before it.
//
// baseline: x86-64-v2, or what the compiler takes for any ARM. avx2: x86-64-v3. avx512: x86-64-v4 and VNNI.
// amx: that, VBMI and BF16, and tiles of int8 and bfloat16.
enum class Variant { baseline, avx2, avx512, amx };

// "baseline", "avx2", "avx512" or "amx".
std::string_view name(Variant variant);

// Those that are compiled in and run here, from the least to the most demanding; `baseline` is always one.
//
// The first call asks the kernel for the use of tiles, which Linux grants to a whole process and for good.
const std::vector<Variant>& available();

// The most demanding of them.
Variant best();

// The one of a name, the best one for "".
//
// Throws std::invalid_argument, naming those to choose from, where there is no such variant or it does not
// run here.
Variant choose(std::string_view name);

}  // namespace qecpipe::cpu
