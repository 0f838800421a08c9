// CRC-32 of IEEE 802.3, the one of zlib: what headers and payloads are checked with.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qecpipe::service {

// The CRC-32 of bytes; `before` is that of what precedes them.
uint32_t crc32(const uint8_t* data, size_t size, uint32_t before = 0);

}  // namespace qecpipe::service
