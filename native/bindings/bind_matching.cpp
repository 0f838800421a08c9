#include "bindings/bindings.h"

namespace qecpipe::bindings {

void bind_matching(nanobind::module_&) {}

}  // namespace qecpipe::bindings
