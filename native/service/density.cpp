#include "service/density.h"

#include <bit>

namespace qecpipe::service {

Ones count_ones(const Ordering& ordering, const Shape& shape, uint64_t most, uint32_t bits,
                bool differences) {
    Ones ones{0, std::vector<uint32_t>(bits)};
    const size_t size = packed_bytes(bits);
    const uint8_t* before = nullptr;
    for (uint64_t ordinal = ordering.first_recent(most); ordinal < ordering.decoded(); ordinal++) {
        const uint64_t sequence = shape.place(ordinal).sequence;
        const bool counts = sequence < shape.rounds() && shape.bits(sequence) == bits &&
                            !(ordering.row_flags(ordinal) & kErased);
        const uint8_t* row = counts ? ordering.row(ordinal) : nullptr;
        if (sequence == 0) before = nullptr;
        if (row != nullptr && (before != nullptr || !differences)) {
            ones.rounds++;
            for (size_t byte = 0; byte < size; byte++) {
                unsigned set = row[byte] ^ (differences ? before[byte] : 0);
                for (; set != 0; set &= set - 1) ones.each[8 * byte + std::countr_zero(set)]++;
            }
        }
        before = row;
    }
    return ones;
}

}  // namespace qecpipe::service
