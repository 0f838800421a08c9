#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "portable.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

// An argument as a kernel takes it.
union Argument {
    uintptr_t pointer;
    i64 whole;
    f32 real;
};

Argument argument_as(char kind, const nb::handle& value) {
    Argument argument{};
    if (kind == 'f') {
        argument.real = nb::cast<f32>(value);
    } else if (kind == 'i') {
        argument.whole = nb::cast<i64>(value);
    } else {
        argument.pointer = nb::cast<uintptr_t>(value);
    }
    return argument;
}

std::vector<std::string> kernels() {
    std::vector<std::string> names;
    for (const auto& [name, kernel] : host_kernels()) names.push_back(name);
    return names;
}

void run_kernel(const std::string& entry, const nb::list& values, uint32_t grid, uint32_t block,
                bool backwards) {
    const auto found = host_kernels().find(entry);
    if (found == host_kernels().end()) throw std::invalid_argument("there is no kernel '" + entry + "'");
    const HostKernel& kernel = found->second;
    if (values.size() != kernel.parameters.size()) {
        throw std::invalid_argument("kernel '" + entry + "' takes " +
                                    std::to_string(kernel.parameters.size()) + " arguments, not " +
                                    std::to_string(values.size()));
    }
    std::vector<Argument> arguments;
    for (size_t k = 0; k < values.size(); k++) {
        try {
            arguments.push_back(argument_as(kernel.parameters[k], values[k]));
        } catch (const nb::cast_error&) {
            const char* kinds = kernel.parameters[k] == 'f' ? "a float" : "an integer";
            throw std::invalid_argument("kernel '" + entry + "' takes " + kinds + " as argument " +
                                        std::to_string(k));
        }
    }
    std::vector<void*> pointers;
    for (Argument& argument : arguments) pointers.push_back(&argument);
    const InterpreterReleased released;
    host_backwards = backwards;
    kernel.run(grid, block, pointers.data());
}

}  // namespace

void bind_kernels(nb::module_& module) {
    module.def("kernels", &kernels,
               "Names of the kernels of `cuda/qecpipe` that are compiled in, for the CPU.");
    module.def("run_kernel", &run_kernel, "entry"_a, "arguments"_a, nb::kw_only(), "grid"_a, "block"_a,
               "backwards"_a = false,
               "Run a grid of a kernel on the CPU, its threads one after another, from the last one on if "
               "`backwards`. "
               "Arguments are addresses and numbers, and nothing can check what an address points to.");
}

}  // namespace qecpipe::bindings
