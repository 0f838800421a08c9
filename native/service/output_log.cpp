#include "service/output_log.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "service/shape.h"

namespace qecpipe::service {

OutputLog::OutputLog(uint32_t stream, uint32_t num_observables, uint64_t start)
    : stream_(stream), num_observables_(num_observables), count_(start) {}

const Bytes& OutputLog::add(FrameType type, uint32_t epoch, const Outcome& outcome, int64_t time_in,
                            int64_t time_out, const uint8_t* flips, const uint8_t* readout, float gap,
                            uint16_t flags) {
    const size_t size = packed_bytes(num_observables_);
    frame_.clear();
    frame_.resize(kHeaderBytes);
    append_number<uint64_t>(frame_, outcome.upto_round);
    append_number<uint64_t>(frame_, outcome.after);
    append_number<uint64_t>(frame_, static_cast<uint64_t>(time_in));
    append_number<uint64_t>(frame_, static_cast<uint64_t>(time_out));
    frame_.insert(frame_.end(), outcome.model.begin(), outcome.model.end());
    append_number<uint32_t>(frame_, num_observables_);
    frame_.insert(frame_.end(), flips, flips + size);
    if (readout != nullptr) frame_.insert(frame_.end(), readout, readout + size);
    if (!std::isnan(gap)) {
        append_number(frame_, std::bit_cast<uint32_t>(gap));
        flags |= kGap;
    }
    write_header(frame_, 0, header(type, stream_, epoch, count_, flags));
    keep(frame_.data(), frame_.size(), count_);
    return frame_;
}

void OutputLog::keep(const uint8_t* frame, size_t size, uint64_t sequence) {
    if (sequence != count_) kept_ = 0;  // those before do not lead to it
    const size_t place = sequence % kKeptOutputs;
    if (ring_.size() <= place) ring_.resize(place + 1);
    ring_[place].assign(frame, frame + size);
    count_ = sequence + 1;
    kept_ = std::min(kept_ + 1, kKeptOutputs);
}

bool OutputLog::resend(uint64_t after, Bytes& out) const {
    if (after > count_ || count_ - after > kept_) return false;
    for (uint64_t number = after; number < count_; number++) {
        const Bytes& frame = ring_[number % kKeptOutputs];
        const size_t begin = out.size();
        out.insert(out.end(), frame.begin(), frame.end());
        add_flags(out.data() + begin, kResent);
    }
    return true;
}

}  // namespace qecpipe::service
