// The choice of an instruction set for a network.
#include <span>
#include <stdexcept>
#include <string>

#include "core/variants.h"
#include "network/engine.h"

namespace qecpipe::network {

#define X(variant)                                                            \
    namespace variant {                                                       \
    std::shared_ptr<const Network> network_of(const QuantizedTables& tables); \
    std::shared_ptr<const Network> network_of(const FloatTables& tables);     \
    std::shared_ptr<const Network> network_of(const DenseTables& tables);     \
    }
QECPIPE_FOR_EACH_VARIANT(X)
#undef X

namespace {

template <class Tables>
std::shared_ptr<const Network> chosen(const Tables& tables, cpu::Variant variant) {
    switch (variant) {
#define X(name) \
    case cpu::Variant::name: return name::network_of(tables);
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

void require_inside(const char* name, std::span<const int32_t> values, int32_t least, int32_t most) {
    for (const int32_t value : values)
        if (value < least || value > most)
            throw std::invalid_argument(std::string(name) + " has " + std::to_string(value) + ", not " +
                                        std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

std::shared_ptr<const Network> make_network(const QuantizedTables& tables, cpu::Variant variant) {
    return chosen(tables, variant);
}

std::shared_ptr<const Network> make_network(const FloatTables& tables, cpu::Variant variant) {
    return chosen(tables, variant);
}

std::shared_ptr<const Network> make_network(const DenseTables& tables, cpu::Variant variant) {
    require_inside("unit_bits", {tables.unit_bits, static_cast<size_t>(1 + tables.sizes.blocks)}, 5, 11);
    require_inside("used", {tables.used, static_cast<size_t>(2 * tables.sizes.blocks)}, 0,
                   tables.sizes.channels);
    return chosen(tables, variant);
}

}  // namespace qecpipe::network
