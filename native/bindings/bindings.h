// What each file of this folder adds to the module: one function per room, in its file `bind_<room>.cpp`.
#pragma once

#include <nanobind/nanobind.h>

namespace qecpipe::bindings {

void bind_core(nanobind::module_& module);
void bind_kernels(nanobind::module_& module);
void bind_matching(nanobind::module_& module);
void bind_trellis(nanobind::module_& module);
void bind_network(nanobind::module_& module);
void bind_streams(nanobind::module_& module);
void bind_service(nanobind::module_& module);
void bind_pump(nanobind::module_& module);
void bind_stream_decoder(nanobind::module_& module);  // after the decoders of bind_service

}  // namespace qecpipe::bindings
