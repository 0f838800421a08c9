#include "bindings/bindings.h"

namespace qecpipe::bindings {

void bind_service(nanobind::module_&) {}

}  // namespace qecpipe::bindings
