// The choice of an instruction set for a network.
#include <stdexcept>

#include "core/variants.h"
#include "network/engine.h"

namespace qecpipe::network {

#define X(variant)                                                                   \
    namespace variant {                                                              \
    std::shared_ptr<const Network> quantized_network(const QuantizedTables& tables); \
    std::shared_ptr<const Network> float_network(const FloatTables& tables);         \
    }
QECPIPE_FOR_EACH_VARIANT(X)
#undef X

std::shared_ptr<const Network> make_network(const QuantizedTables& tables, cpu::Variant variant) {
    switch (variant) {
#define X(name) \
    case cpu::Variant::name: return name::quantized_network(tables);
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

std::shared_ptr<const Network> make_network(const FloatTables& tables, cpu::Variant variant) {
    switch (variant) {
#define X(name) \
    case cpu::Variant::name: return name::float_network(tables);
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

}  // namespace qecpipe::network
