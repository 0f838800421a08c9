// What a stream asks of its decoder.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "service/frames.h"

namespace qecpipe::service {

using ModelId = std::array<uint8_t, 8>;

// Corrections that are final.
struct Outcome {
    uint64_t upto_round;  // layers below it
    uint64_t after;       // sequence of the row that allowed it
    ModelId model;        // that decoded last
    uint16_t flags;       // kDegraded, kReloaded
};

// Outcomes in order. `flips` holds the packed flips of the observables for each, cumulative over the shot.
struct Outcomes {
    std::vector<Outcome> items;
    Bytes flips;
    Bytes readout;       // of measurements, with the last outcome of a shot: the observables, corrected
    float gap = kNoGap;  // with the last outcome of a shot: nats, where it was asked for and there is one

    static constexpr float kNoGap = std::numeric_limits<float>::quiet_NaN();

    void clear() {
        items.clear(), flips.clear(), readout.clear();
        gap = kNoGap;
    }
};

enum class Decoded {
    kDone,     // all rows that were given
    kBlocked,  // something has to be built elsewhere first: call `resume` then; no row counts as decoded
    kRefused,  // the row after those that were decoded; `reason` says why: the shot is over
};

struct Progress {
    Decoded state;
    uint64_t rows;  // decoded by this call
};

// A decoder of shots, row by row; one thread at a time.
class RowDecoder {
  public:
    virtual ~RowDecoder() = default;

    // Begins a shot, whatever state the one before was in.
    virtual void open(uint32_t epoch) = 0;

    // Decodes rounds of a shot, in order.
    //
    // rows: packed, one after the other, each in whole bytes.
    // erased: null, or of each row whether it carries no information.
    virtual Progress push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                          Outcomes& out) = 0;

    // Decodes the final row; the last outcome is the shot's result. `Progress::rows` is 1 when that is done.
    virtual Progress finish(uint64_t sequence, const uint8_t* row, Outcomes& out) = 0;

    // Goes on after kBlocked: with the row that it stopped at, which is counted if it is done now. The others
    // of the call that was blocked are to be given again.
    virtual Progress resume(Outcomes& out) = 0;

    // Why a row was refused.
    virtual const std::string& reason() const = 0;

    // Takes over the model that was prepared last, for windows that commit from `at_round` on and later
    // shots.
    virtual void adopt(uint64_t at_round) = 0;

    // Of new windows.
    virtual ModelId model() const = 0;
};

}  // namespace qecpipe::service
