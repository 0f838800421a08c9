#include "network/stencil_gradient.h"

#include <stdexcept>

#include "core/variants.h"

namespace qecpipe::network {

#define X(variant)                                                                                          \
    namespace variant {                                                                                     \
    void stencil_gradient(const float*, const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*); \
    }
QECPIPE_FOR_EACH_VARIANT(X)
#undef X

StencilGradient stencil_gradient(cpu::Variant variant) {
    switch (variant) {
#define X(name) \
    case cpu::Variant::name: return name::stencil_gradient;
        QECPIPE_FOR_EACH_VARIANT(X)
#undef X
        default: throw std::logic_error("an instruction set that is not compiled in");
    }
}

}  // namespace qecpipe::network
