#include "core/cpu.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "core/variants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace qecpipe::cpu {

namespace {

#if defined(__x86_64__)

// What cpuid says in one leaf.
struct Leaf {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

    Leaf(uint32_t leaf, uint32_t subleaf) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

constexpr bool has(uint32_t word, std::initializer_list<int> bits) {
    return std::all_of(bits.begin(), bits.end(), [&](int bit) { return word >> bit & 1; });
}

// The parts of a thread's state that the kernel saves: without them registers are lost, or instructions
// fault.
uint64_t saved_state() {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t{high} << 32 | low;
}

bool has_avx2(const Leaf& basic, const Leaf& extended, uint64_t saved) {
    const bool registers = (saved & 0x6) == 0x6;  // xmm, ymm
    const bool fma_movbe_f16c_avx = has(basic.ecx, {12, 22, 29, 28});
    const bool bmi1_avx2_bmi2 = has(extended.ebx, {3, 5, 8});
    const bool lzcnt = has(Leaf(0x80000001, 0).ecx, {5});
    return registers && fma_movbe_f16c_avx && bmi1_avx2_bmi2 && lzcnt;
}

bool has_avx512(const Leaf& extended, uint64_t saved) {
    const bool registers = (saved & 0xe0) == 0xe0;  // masks, zmm0 to 15, zmm16 to 31
    const bool f_dq_cd_bw_vl = has(extended.ebx, {16, 17, 28, 30, 31});
    const bool vnni = has(extended.ecx, {11});
    return registers && f_dq_cd_bw_vl && vnni;
}

// Tiles are 8 KB of state per thread, which Linux saves only for processes that ask.
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

bool has_amx(const Leaf& extended, uint64_t saved) {
    const bool registers = (saved & 0x60000) == 0x60000;  // tile configuration, tile data
    const bool vbmi = has(extended.ecx, {1});
    const bool bf16 = has(Leaf(7, 1).eax, {5});
    const bool tiles_of_bf16_int8 = has(extended.edx, {22, 24, 25});
    return registers && vbmi && bf16 && tiles_of_bf16_int8 && may_use_tiles();
}

Variant detect() {
    const Leaf basic(1, 0), extended(7, 0);
    if (!has(basic.ecx, {27})) return Variant::baseline;  // OSXSAVE: xgetbv may be used
    const uint64_t saved = saved_state();
    if (!has_avx2(basic, extended, saved)) return Variant::baseline;
    if (!has_avx512(extended, saved)) return Variant::avx2;
    return has_amx(extended, saved) ? Variant::amx : Variant::avx512;
}

#else

Variant detect() { return Variant::baseline; }

#endif

std::vector<Variant> compiled() {
#define X(variant) Variant::variant,
    return {QECPIPE_FOR_EACH_VARIANT(X)};
#undef X
}

std::vector<Variant> runnable() {
    const Variant most = detect();
    std::vector<Variant> variants = compiled();
    std::erase_if(variants, [&](Variant variant) { return variant > most; });
    return variants;
}

}  // namespace

std::string_view name(Variant variant) {
    switch (variant) {
        case Variant::baseline: return "baseline";
        case Variant::avx2: return "avx2";
        case Variant::avx512: return "avx512";
        case Variant::amx: return "amx";
    }
    throw std::logic_error("no such variant");
}

const std::vector<Variant>& available() {
    static const std::vector<Variant> variants = runnable();
    return variants;
}

Variant best() { return available().back(); }

Variant choose(std::string_view wanted) {
    if (wanted.empty()) return best();
    std::string names;
    for (const Variant variant : available()) {
        if (name(variant) == wanted) return variant;
        names += (names.empty() ? "" : ", ") + std::string(name(variant));
    }
    throw std::invalid_argument("no instruction set \"" + std::string(wanted) + "\" here, only " + names);
}

}  // namespace qecpipe::cpu
