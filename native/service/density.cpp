#include "service/density.h"

#include <algorithm>
#include <bit>

namespace qecpipe::service {

Ones count_ones(const Ordering& ordering, const Shape& shape, uint64_t most, uint32_t bits,
                uint32_t compared) {
    Ones ones{0, std::vector<uint32_t>(bits)};
    const size_t size = packed_bytes(bits);
    std::vector<const uint8_t*> recent(compared, nullptr);  // rows of the last rounds of a shot
    for (uint64_t ordinal = ordering.first_recent(most); ordinal < ordering.decoded(); ordinal++) {
        const uint64_t sequence = shape.place(ordinal).sequence;
        const bool counts = sequence < shape.rounds() && shape.bits(sequence) == bits &&
                            !(ordering.row_flags(ordinal) & kErased);
        const uint8_t* row = counts ? ordering.row(ordinal) : nullptr;
        if (sequence == 0) std::fill(recent.begin(), recent.end(), nullptr);
        const uint8_t* before = compared ? recent[sequence % compared] : nullptr;
        if (row != nullptr && (before != nullptr || !compared)) {
            ones.rounds++;
            for (size_t byte = 0; byte < size; byte++) {
                unsigned set = row[byte] ^ (compared ? before[byte] : 0);
                for (; set != 0; set &= set - 1) ones.each[8 * byte + std::countr_zero(set)]++;
            }
        }
        if (compared) recent[sequence % compared] = row;
    }
    return ones;
}

}  // namespace qecpipe::service
