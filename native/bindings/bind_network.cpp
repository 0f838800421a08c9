#include "bindings/bindings.h"

namespace qecpipe::bindings {

void bind_network(nanobind::module_&) {}

}  // namespace qecpipe::bindings
