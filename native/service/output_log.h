// What a stream sends: COMMITs and RESULTs, numbered, and kept for a client that comes back.
#pragma once

#include "service/frames.h"
#include "service/row_decoder.h"

namespace qecpipe::service {

constexpr uint64_t kKeptOutputs = 8192;

// Numbers outputs and keeps the last of them, encoded.
class OutputLog {
  public:
    // start: number of the next output.
    OutputLog(uint32_t stream, uint32_t num_observables, uint64_t start);

    // The next output, encoded; valid until the one after it.
    //
    // flips, readout: packed; `readout` may be null. gap: nats; not a number where there is none.
    const Bytes& add(FrameType type, uint32_t epoch, const Outcome& outcome, int64_t time_in,
                     int64_t time_out, const uint8_t* flips, const uint8_t* readout, float gap,
                     uint16_t flags);

    // Takes over an output that was made before, encoded; its number is `sequence`.
    void keep(const uint8_t* frame, size_t size, uint64_t sequence);

    // Outputs so far, and the number of the next.
    uint64_t count() const { return count_; }

    // Appends the outputs from number `after` on, RESENT; false if they are not kept, or were never made.
    bool resend(uint64_t after, Bytes& out) const;

  private:
    const uint32_t stream_, num_observables_;
    uint64_t count_, kept_ = 0;
    Bytes frame_;
    std::vector<Bytes> ring_;  // of number n at n % kKeptOutputs
};

}  // namespace qecpipe::service
