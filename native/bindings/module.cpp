#include "bindings/bindings.h"

NB_MODULE(_qecpipe, module) {
    module.doc() = "The native core of qecpipe: matching, networks, streams and the service's data plane.";
    // Tests, forks and interpreters at their end leave objects behind; what matters is checked by sanitizers.
    nanobind::set_leak_warnings(false);
    qecpipe::bindings::bind_core(module);
    qecpipe::bindings::bind_kernels(module);
    qecpipe::bindings::bind_matching(module);
    qecpipe::bindings::bind_trellis(module);
    qecpipe::bindings::bind_network(module);
    qecpipe::bindings::bind_streams(module);
    qecpipe::bindings::bind_service(module);
}
