// How often each bit of a stream's rounds is set, where a drift of the noise shows.
#pragma once

#include <cstdint>
#include <vector>

#include "service/ordering.h"

namespace qecpipe::service {

struct Ones {
    uint64_t rounds = 0;         // that were counted
    std::vector<uint32_t> each;  // of them, those with this bit set
};

// Counts the last rounds that were decoded and are still kept.
//
// most: as many of them, at most.
// bits: of a round; those of another width are passed over, and so are erased ones.
// compared: rounds are measurements, and what is counted are the bits in which one differs from that of
//     so many rounds before; 0 where bits themselves say what fired.
Ones count_ones(const Ordering& ordering, const Shape& shape, uint64_t most, uint32_t bits,
                uint32_t compared);

}  // namespace qecpipe::service
