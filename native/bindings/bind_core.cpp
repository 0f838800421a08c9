#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "core/cpu.h"

namespace nb = nanobind;

namespace qecpipe::bindings {

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const cpu::Variant variant : cpu::available()) names.emplace_back(cpu::name(variant));
    return names;
}

}  // namespace

void bind_core(nb::module_& module) {
    module.attr("VERSION") = QECPIPE_VERSION;
    module.attr("COMPILER") = kCompiler;
    module.attr("BUILD_TYPE") = QECPIPE_BUILD_TYPE;
    module.attr("SANITIZERS") = QECPIPE_SANITIZE;
    module.def(
        "instruction_sets", &instruction_sets,
        "Instruction sets that are compiled in and run on this machine; the last one is chosen by default.");
}

}  // namespace qecpipe::bindings
