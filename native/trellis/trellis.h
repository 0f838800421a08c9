// Maximum-likelihood decoding by a trellis: the probability of either value of an observable, summed over all
// errors that explain a shot, or over those that a beam keeps.
//
// Faults are taken one after another. A state is what the faults so far leave of the detections: a bit of
// each detector that some faults to come touch too, and of each observable. Every fault happens in a state or
// does not; states that become equal are added up, which is what a search for one likeliest error misses. A
// detector is decided by the last fault that touches it. Of the states, the beam keeps those of the highest
// score: their probability, times the odds that the faults to come explain what they leave, as if detectors
// had nothing to do with one another.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "trellis/beam.h"

namespace trellis {

// Faults in the order in which they are taken. Fault m touches detectors[starts[m] .. starts[m + 1]).
struct Faults {
    int32_t num_detectors = 0;
    int32_t num_observables = 0;
    std::vector<int32_t> starts;        // (M + 1,)
    std::vector<int32_t> detectors;     // distinct ones within a fault, at most 12
    std::vector<double> probabilities;  // (M,), above 0, at most 1/2
    std::vector<uint64_t> flips;        // (M,): bit k for observable k
};

class Trellis {
  public:
    static constexpr int32_t kMostBits = 128, kMostObservables = 64, kMostDetectors = 12;
    static constexpr int64_t kWidest = int64_t{1} << 20;
    static constexpr double kNegligible = 1e-7;

    // Throws std::invalid_argument for numbers out of range, or if more detectors are open at a time than a
    // key has bits.
    explicit Trellis(const Faults& faults);

    int32_t num_observables() const { return num_observables_; }
    int64_t row_bytes() const { return (num_detectors_ + 7) / 8; }

    // log_odds: (B, O), of no flip; infinite where no state is left that has the other value, NaN where
    // none is left at all. packed: (B, ceil(D / 8)) detections, LSB first. beam: the most states that are
    // kept, from 1 to kWidest. negligible: from 0 to below 1, see `Beam`. Several threads may call.
    //
    // Throws std::invalid_argument for another beam or `negligible`.
    void log_odds(const uint8_t* packed, int64_t count, int64_t beam, double negligible,
                  float* log_odds) const;

  private:
    // One fault, with what it does to a state by the bits of its detectors there (first detector: bit 0).
    struct Step {
        std::vector<std::pair<int32_t, int32_t>>
            opened;  // detectors that no fault before touched, their bits
        Transition transition;
    };

    template <class Key>
    void pass(const uint8_t* row, Beam<Key>& beam) const;

    template <class Key>
    void run(const uint8_t* packed, int64_t count, Beam<Key> beam, float* log_odds) const;

    int32_t num_detectors_, num_observables_;
    int32_t bits_ = 0;  // of keys that are used
    std::vector<Step> steps_;
};

}  // namespace trellis
