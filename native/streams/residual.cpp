#include "streams/residual.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/bits.h"

namespace qecpipe::streams {

namespace {

void require_below(const char* what, std::span<const int32_t> values, int64_t least, int64_t end) {
    for (const int32_t value : values) {
        if (value < least || value >= end) {
            throw std::invalid_argument("moves: " + std::string(what) + " " + std::to_string(value) +
                                        " is not one of " + std::to_string(end));
        }
    }
}

}  // namespace

MoveTables::MoveTables(std::span<const int32_t> first, std::span<const int32_t> second,
                       std::span<const int32_t> starts, std::span<const int32_t> observables,
                       int64_t num_detectors, int64_t num_observables)
    : first_(first.begin(), first.end()), second_(second.begin(), second.end()),
      starts_(starts.begin(), starts.end()), observables_(observables.begin(), observables.end()),
      num_detectors_(num_detectors), num_observables_(num_observables) {
    if (second.size() != first.size() || starts.size() != first.size() + 1 || starts.front() != 0 ||
        starts.back() != static_cast<int64_t>(observables.size()) ||
        !std::is_sorted(starts.begin(), starts.end())) {
        throw std::invalid_argument("moves: tables of " + std::to_string(first.size()) + " and " +
                                    std::to_string(second.size()) + " ends and " +
                                    std::to_string(starts.size()) + " starts do not fit each other");
    }
    require_below("detector", first, -1, num_detectors);
    require_below("detector", second, -1, num_detectors);
    require_below("observable", observables, 0, num_observables);
}

void MoveTables::apply(int64_t shots, const uint8_t* moves, const uint8_t* packed, uint8_t* residual,
                       uint8_t* flips) const {
    const int64_t columns = num_moves(), width = row_bytes(), flips_width = flips_bytes();
    std::memcpy(residual, packed, shots * width);
    std::memset(flips, 0, shots * flips_width);
    const auto flip = [](uint8_t* row, int32_t bit) { row[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8)); };
    for (int64_t s = 0; s < shots; s++) {
        uint8_t* left = residual + s * width;
        uint8_t* flipped = flips + s * flips_width;
        bits::for_each_set(moves + s * columns, columns, [&](int64_t k) {
            if (first_[k] < 0) return;
            flip(left, first_[k]);
            if (second_[k] >= 0) flip(left, second_[k]);
            for (int32_t o = starts_[k]; o < starts_[k + 1]; o++) flip(flipped, observables_[o]);
        });
    }
}

}  // namespace qecpipe::streams
