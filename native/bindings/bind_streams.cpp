#include "bindings/bindings.h"

namespace qecpipe::bindings {

void bind_streams(nanobind::module_&) {}

}  // namespace qecpipe::bindings
