#include "bindings/arrays.h"

namespace nb = nanobind;

namespace qecpipe::bindings {

namespace {

// As NumPy writes a tuple; a size that may be any is a "*".
std::string written(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (size_t k = 0; k < shape.size(); k++) {
        text += (k ? ", " : "") + (shape[k] == kAny ? "*" : std::to_string(shape[k]));
    }
    return text + (shape.size() == 1 ? ",)" : ")");
}

bool is_contiguous(const AnyArray& array) {
    int64_t step = 1;
    for (size_t k = array.ndim(); k-- > 0;) {
        if (array.shape(k) != 1 && array.stride(k) != step) return false;
        step *= static_cast<int64_t>(array.shape(k));
    }
    return true;
}

}  // namespace

std::string name_of(nb::dlpack::dtype type) {
    using Code = nb::dlpack::dtype_code;
    const auto code = static_cast<Code>(type.code);
    if (code == Code::Bool) return "bool";
    const char* kind = code == Code::Int       ? "int"
                       : code == Code::UInt    ? "uint"
                       : code == Code::Float   ? "float"
                       : code == Code::Bfloat  ? "bfloat"
                       : code == Code::Complex ? "complex"
                                               : "unknown type ";
    return kind + std::to_string(type.bits);
}

AnyArray checked_as(const char* name, const AnyArray& array, nb::dlpack::dtype type,
                    const std::vector<int64_t>& shape) {
    std::vector<int64_t> has(array.ndim());
    for (size_t k = 0; k < has.size(); k++) has[k] = static_cast<int64_t>(array.shape(k));
    const bool fits = std::equal(has.begin(), has.end(), shape.begin(), shape.end(),
                                 [](int64_t got, int64_t wanted) { return wanted == kAny || got == wanted; });
    if (!fits || array.dtype() != type) {
        throw std::invalid_argument(std::string(name) + ": got an array of " + name_of(array.dtype()) + " " +
                                    written(has) + ", but " + name_of(type) + " " + written(shape) +
                                    " was expected");
    }
    if (array.size() == 0 || is_contiguous(array)) return array;
    return nb::cast<AnyArray>(nb::module_::import_("numpy").attr("ascontiguousarray")(array));
}

}  // namespace qecpipe::bindings
