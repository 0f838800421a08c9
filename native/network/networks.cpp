// The choice of an instruction set for a network.
#include "core/cpu.h"
#include "network/engine.h"

namespace qecpipe::network {

#define QECPIPE_DECLARE(variant)                                                     \
    namespace variant {                                                              \
    std::shared_ptr<const Network> quantized_network(const QuantizedTables& tables); \
    std::shared_ptr<const Network> float_network(const FloatTables& tables);         \
    }
QECPIPE_DECLARE(baseline)
#ifdef QECPIPE_HAS_AVX2
QECPIPE_DECLARE(avx2)
#endif
#ifdef QECPIPE_HAS_AVX512
QECPIPE_DECLARE(avx512)
#endif
#undef QECPIPE_DECLARE

std::shared_ptr<const Network> make_network(const QuantizedTables& tables, std::string_view variant) {
    const cpu::Variant chosen = cpu::choose(variant);
#ifdef QECPIPE_HAS_AVX512
    if (chosen >= cpu::Variant::avx512) return avx512::quantized_network(tables);
#endif
#ifdef QECPIPE_HAS_AVX2
    if (chosen >= cpu::Variant::avx2) return avx2::quantized_network(tables);
#endif
    (void)chosen;
    return baseline::quantized_network(tables);
}

std::shared_ptr<const Network> make_network(const FloatTables& tables, std::string_view variant) {
    const cpu::Variant chosen = cpu::choose(variant);
#ifdef QECPIPE_HAS_AVX512
    if (chosen >= cpu::Variant::avx512) return avx512::float_network(tables);
#endif
#ifdef QECPIPE_HAS_AVX2
    if (chosen >= cpu::Variant::avx2) return avx2::float_network(tables);
#endif
    (void)chosen;
    return baseline::float_network(tables);
}

}  // namespace qecpipe::network
