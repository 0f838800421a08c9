#include "trellis/trellis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace trellis {

namespace {

// Throws std::invalid_argument, see the constructor.
void check(const Faults& faults) {
    const auto fail = [](const std::string& what) { throw std::invalid_argument(what); };
    if (faults.num_observables < 0 || faults.num_observables > Trellis::kMostObservables) {
        fail("num_observables: a trellis takes up to " + std::to_string(Trellis::kMostObservables) +
             ", not " + std::to_string(faults.num_observables));
    }
    const size_t count = faults.probabilities.size();
    if (faults.starts.size() != count + 1 || faults.flips.size() != count || faults.starts.front() != 0 ||
        faults.starts.back() != static_cast<int64_t>(faults.detectors.size())) {
        fail("starts: do not divide the detectors among the faults");
    }
    for (size_t m = 0; m < count; ++m) {
        const int32_t size = faults.starts[m + 1] - faults.starts[m];
        if (size < 1 || size > Trellis::kMostDetectors) {
            fail("fault " + std::to_string(m) + " flips " + std::to_string(size) +
                 " detectors; a trellis takes 1 to " + std::to_string(Trellis::kMostDetectors));
        }
        if (!(faults.probabilities[m] > 0) || faults.probabilities[m] > 0.5) {
            fail("fault " + std::to_string(m) + " has probability " +
                 std::to_string(faults.probabilities[m]) + ", which is not above 0 and up to 1/2");
        }
        if (faults.num_observables < 64 && faults.flips[m] >> faults.num_observables)
            fail("fault " + std::to_string(m) + " flips no observable that there is");
    }
    for (const int32_t d : faults.detectors) {
        if (d < 0 || d >= faults.num_detectors) fail("detectors: " + std::to_string(d) + " is none");
    }
}

// The bit of each detector: one that is free from its first fault to its last.
std::vector<int32_t> bits_of(const Faults& faults) {
    std::vector<int32_t> left(faults.num_detectors, 0), bits(faults.num_detectors, -1), free;
    for (const int32_t d : faults.detectors) ++left[d];
    for (int32_t k = Trellis::kMostBits - 1; k >= faults.num_observables; --k) free.push_back(k);
    for (size_t m = 0; m < faults.probabilities.size(); ++m) {
        const auto begin = faults.detectors.begin() + faults.starts[m],
                   end = faults.detectors.begin() + faults.starts[m + 1];
        for (auto d = begin; d != end; ++d) {
            if (bits[*d] >= 0) continue;
            if (free.empty()) {
                throw std::invalid_argument(
                    "more than " + std::to_string(Trellis::kMostBits - faults.num_observables) +
                    " detectors are open at a time; this patch is too large for a trellis");
            }
            bits[*d] = free.back();
            free.pop_back();
        }
        for (auto d = begin; d != end; ++d) {
            if (--left[*d] == 0) free.push_back(bits[*d]);
        }
    }
    return bits;
}

}  // namespace

Trellis::Trellis(const Faults& faults)
    : num_detectors_(faults.num_detectors), num_observables_(faults.num_observables) {
    check(faults);
    const std::vector<int32_t> bits = bits_of(faults);
    bits_ = num_observables_;
    for (const int32_t bit : bits) bits_ = std::max(bits_, bit + 1);
    // The odds q / (1 - q) that an odd number of faults flips a detector are tanh(-x / 2), where x is the
    // logarithm of 1 - 2 q: a sum, over the faults to come, of those of 1 - 2 p.
    const size_t count = faults.probabilities.size();
    std::vector<double> sums(faults.num_detectors, 0.0), after(faults.detectors.size()), before(after.size());
    for (size_t m = count; m-- > 0;) {
        for (int32_t k = faults.starts[m]; k < faults.starts[m + 1]; ++k) {
            double& sum = sums[faults.detectors[k]];
            after[k] = std::tanh(-sum / 2);
            sum += std::log1p(-2 * faults.probabilities[m]);
            before[k] = std::tanh(-sum / 2);
        }
    }
    std::vector<bool> seen(faults.num_detectors, false);
    for (size_t m = 0; m < count; ++m) {
        Step step;
        Transition& to = step.transition;
        for (int32_t k = faults.starts[m]; k < faults.starts[m + 1]; ++k) {
            const int32_t d = faults.detectors[k];
            to.bits.push_back(bits[d]);
            to.mask ^= bit_of<WideKey>(bits[d]);
            to.closes |= after[k] == 0;
            if (!seen[d]) step.opened.emplace_back(d, bits[d]);
            seen[d] = true;
        }
        for (int32_t k = 0; k < num_observables_; ++k) {
            if (faults.flips[m] >> k & 1) to.mask ^= bit_of<WideKey>(k);
        }
        const uint32_t size = to.bits.size();
        const double ratio = faults.probabilities[m] / (1 - faults.probabilities[m]);
        for (uint32_t left = 0; left < uint32_t{1} << size; ++left) {
            double stays = 1, happens = ratio;
            for (uint32_t k = 0; k < size; ++k) {
                const int32_t at = faults.starts[m] + k;
                (left >> k & 1 ? stays : happens) *= after[at];
                if (left >> k & 1) stays /= before[at], happens /= before[at];
            }
            to.stays.push_back(stays);
            to.happens.push_back(happens);
        }
        steps_.push_back(std::move(step));
    }
}

void Trellis::log_odds(const uint8_t* packed, int64_t count, int64_t beam, double negligible,
                       float* log_odds) const {
    if (beam < 1 || beam > kWidest) {
        throw std::invalid_argument("beam: " + std::to_string(beam) + " is not from 1 to 2^20 states");
    }
    if (!(negligible >= 0 && negligible < 1)) {
        throw std::invalid_argument("negligible: " + std::to_string(negligible) +
                                    " is not from 0 to below 1");
    }
    if (bits_ <= 64) return run(packed, count, Beam<NarrowKey>(beam, negligible), log_odds);
    run(packed, count, Beam<WideKey>(beam, negligible), log_odds);
}

template <class Key>
void Trellis::pass(const uint8_t* row, Beam<Key>& beam) const {
    beam.start();
    for (const Step& step : steps_) {
        for (const auto& [d, bit] : step.opened) {
            if (row[d >> 3] >> (d & 7) & 1) beam.fire(bit);
        }
        beam.take(step.transition);
    }
}

template <class Key>
void Trellis::run(const uint8_t* packed, int64_t count, Beam<Key> beam, float* log_odds) const {
    std::vector<std::array<double, 2>> of_value(num_observables_);
    for (int64_t s = 0; s < count; ++s) {
        pass(packed + s * row_bytes(), beam);
        std::fill(of_value.begin(), of_value.end(), std::array<double, 2>{});
        beam.for_each([&](Key key, double score) {
            for (int32_t k = 0; k < num_observables_; ++k) of_value[k][key >> k & 1] += score;
        });
        for (int32_t k = 0; k < num_observables_; ++k) {
            const auto& [zero, one] = of_value[k];
            log_odds[s * num_observables_ + k] = static_cast<float>(std::log(zero) - std::log(one));
        }
    }
}

}  // namespace trellis
