#include "service/shape.h"

#include <stdexcept>
#include <string>

#include "service/frames.h"

namespace qecpipe::service {

namespace {

constexpr uint64_t kMostRounds = uint64_t{1} << 32;  // so that every ordinal fits

}  // namespace

Shape::Shape(std::vector<Run> layers, uint32_t final_bits, uint32_t num_observables, uint64_t commit)
    : layers_(std::move(layers)), final_bits_(final_bits), num_observables_(num_observables), commit_(commit),
      most_bytes_(packed_bytes(final_bits)) {
    uint64_t bytes = 0;
    for (const Run& run : layers_) {
        if (run.rounds < 1 || run.rounds > kMostRounds) {
            throw std::invalid_argument("layers: a run of " + std::to_string(run.rounds) + " rounds");
        }
        bytes_before_.push_back(bytes);
        rounds_ += run.rounds;
        bytes += run.rounds * packed_bytes(run.bits);
        ends_.push_back(rounds_);
        most_bytes_ = std::max(most_bytes_, packed_bytes(run.bits));
        if (rounds_ > kMostRounds) throw std::invalid_argument("layers: more than 2^32 rounds in a shot");
    }
    bytes_before_.push_back(bytes);
    if (layers_.empty()) throw std::invalid_argument("layers: a shot needs at least one round");
    if (commit_ < 1) throw std::invalid_argument("commit: 0 rounds between window boundaries");
}

size_t Shape::run_of(uint64_t sequence) const {
    if (sequence < ends_[0]) return 0;
    const auto found = std::upper_bound(ends_.begin(), ends_.end(), sequence) - ends_.begin();
    return std::min(static_cast<size_t>(found), layers_.size() - 1);
}

uint32_t Shape::bits(uint64_t sequence) const {
    return sequence == rounds_ ? final_bits_ : layers_[run_of(sequence)].bits;
}

uint64_t Shape::offset(uint64_t sequence) const {
    if (sequence > rounds_) return bytes_before_.back() + packed_bytes(final_bits_);
    const size_t run = run_of(sequence);
    const uint64_t begin = ends_[run] - layers_[run].rounds;
    return bytes_before_[run] + (sequence - begin) * packed_bytes(layers_[run].bits);
}

uint64_t Shape::rows_in(uint64_t sequence, uint64_t length, bool masked) const {
    uint64_t count = 1, size = kCountBytes + packed_bytes(bits(sequence));
    while (size + (masked ? packed_bytes(count) : 0) < length && sequence + count <= rounds_) {
        size += packed_bytes(bits(sequence + count));
        count++;
    }
    return count;
}

}  // namespace qecpipe::service
