// From the rounds of a stream, packed rows of measurements or detectors, to layers of detections.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "streams/window_decoder.h"

namespace qecpipe::streams {

// Bits of recent rounds, each of which flips the same detections: of their sum, bit k flips sites
// sites[starts[k]] to sites[starts[k + 1] - 1].
struct RoundTerm {
    std::vector<int32_t> rounds_back;
    std::vector<int32_t> starts, sites;
};

// A round that was read, and what others that look like it do.
struct RoundKind {
    int32_t width;
    std::vector<RoundTerm> terms;
    std::vector<uint64_t> parities;  // a row: detections without noise and with bits of 0
    std::vector<Component> lost;     // errors that an erased round adds; layers relative to it
};

// The rounds of a stream, however many it has.
struct RoundSource {
    explicit RoundSource(LayerSequence layers) : layers(std::move(layers)) {}

    LayerSequence layers;
    int32_t num_sites = 0;
    std::vector<RoundKind> rounds;  // of every layer that was read
    bool measured = false;          // rounds are measurements, of which the last stand in for those erased
    int32_t depth = 0;              // rounds back that detectors look
    int32_t num_observables = 0;
    std::vector<std::vector<int32_t>> observables;  // measured: bits of the last round
    std::vector<uint8_t> observable_parities;
    std::vector<int32_t>
        certain_observables;   // flipped from the beginning, in experiments as long as it was given
    int64_t given_layers = 0;  // of the experiment as it was given

    // Raises what does not fit as an error that names it.
    void check() const {
        const auto need = [](bool fits, const std::string& what) {
            if (!fits) throw std::invalid_argument("a stream's rounds have " + what);
        };
        need(static_cast<int64_t>(rounds.size()) == layers.size(), "another number than its layers");
        for (const RoundKind& round : rounds) {
            need(round.parities.size() == static_cast<size_t>(num_sites + 63) / 64,
                 "parities of other sites");
            for (const RoundTerm& term : round.terms) {
                need(!term.starts.empty() && term.starts.front() == 0, "no starts of sites");
                need(std::is_sorted(term.starts.begin(), term.starts.end()), "starts that are not in order");
                need(term.starts.back() == static_cast<int32_t>(term.sites.size()), "sites of no bit");
                for (int32_t back : term.rounds_back) need(back >= 0 && back <= depth, "terms of no round");
                for (int32_t site : term.sites) need(site >= 0 && site < num_sites, "a detection at no site");
            }
            for (const Component& lost : round.lost) {
                for (Place at : lost.detectors)
                    need(at.site >= 0 && at.site < num_sites, "errors at no site");
                for (int32_t k : lost.observables)
                    need(k >= 0 && k < num_observables, "errors of an unknown observable");
            }
        }
        need(observables.size() == observable_parities.size(), "no parity for every observable");
        need(std::ssize(observables) <= num_observables, "readouts of more than the observables");
        int32_t widest = 0;
        for (const RoundKind& round : rounds) widest = std::max(widest, round.width);
        for (const std::vector<int32_t>& bits : observables) {
            for (int32_t bit : bits) need(bit >= 0 && bit < widest, "an observable of no bit");
        }
        for (int32_t k : certain_observables) need(k >= 0 && k < num_observables, "an unknown observable");
    }

    // Why an experiment cannot end with this round; empty where it can.
    std::string why_not_last(int64_t last) const {
        const std::string ends = "the experiment cannot end with round " + std::to_string(last) + ": ";
        if (!certain_observables.empty() && last + 1 != given_layers) {
            return ends +
                   "errors above 1/2 flip observables and no detector, so they belong to no round, and "
                   "only " +
                   "the " + std::to_string(given_layers) +
                   " rounds of the model that was read can be decoded";
        }
        if (!layers.can_have(last + 1)) {
            return ends + "num_layers=" + std::to_string(last + 1) +
                   " detector layers cannot be made: the layers " + layers.repetition();
        }
        return "";
    }

    const RoundKind& round(int64_t number, int64_t num_layers) const {
        return rounds[layers.source_layer(number, num_layers)];
    }
};

// The last rows of a shot, and their detections.
class RecentRounds {
  public:
    explicit RecentRounds(const RoundSource& source) : source_(source) {
        int32_t widest = 0;
        for (const RoundKind& round : source.rounds) widest = std::max(widest, round.width);
        words_ = std::max(1, (widest + 63) / 64);
        rows_.assign(static_cast<size_t>(source.depth + 1) * words_, 0);
        widths_.assign(source.depth + 1, -1);
        sum_.assign(words_, 0);
    }

    void clear() {
        std::fill(rows_.begin(), rows_.end(), 0);
        std::fill(widths_.begin(), widths_.end(), -1);
    }

    // Takes a round and adds its detections to a row of sites.
    //
    // bits: packed, LSB first, ceil(width / 8) bytes; null where the round is erased.
    void take(int64_t number, const RoundKind& round, const uint8_t* bits, uint64_t* layer) {
        uint64_t* row = row_of(number);
        if (bits) {
            std::fill_n(row, words_, 0);
            std::memcpy(row, bits, (round.width + 7) / 8);
        } else if (source_.measured && number > 0 && width_of(number - 1) == round.width) {
            std::copy_n(row_of(number - 1), words_, row);
        } else {
            std::fill_n(row, words_, 0);
        }
        width_of(number) = round.width;
        for (size_t w = 0; w < round.parities.size(); w++) layer[w] ^= round.parities[w];
        for (const RoundTerm& term : round.terms) add(number, term, layer);
    }

    // The bits of a round that was taken among the last, packed.
    const uint64_t* row_of(int64_t number) const { return rows_.data() + slot(number) * words_; }

  private:
    size_t slot(int64_t number) const { return static_cast<size_t>(number % (source_.depth + 1)); }
    uint64_t* row_of(int64_t number) { return rows_.data() + slot(number) * words_; }
    int32_t& width_of(int64_t number) { return widths_[slot(number)]; }

    // Sums of rounds without noise are mostly zeros: a visit for every bit that is set.
    void add(int64_t number, const RoundTerm& term, uint64_t* layer) {
        std::fill(sum_.begin(), sum_.end(), 0);
        for (int32_t back : term.rounds_back) {
            if (back > number) continue;
            const uint64_t* row = row_of(number - back);
            for (int32_t w = 0; w < words_; w++) sum_[w] ^= row[w];
        }
        const int32_t bits = static_cast<int32_t>(term.starts.size()) - 1;
        for (int32_t w = 0; w < words_; w++) {
            for (uint64_t left = sum_[w]; left; left &= left - 1) {
                const int32_t bit = 64 * w + std::countr_zero(left);
                if (bit >= bits) return;
                for (int32_t k = term.starts[bit]; k < term.starts[bit + 1]; k++) {
                    const int32_t site = term.sites[k];
                    layer[site >> 6] ^= uint64_t{1} << (site & 63);
                }
            }
        }
    }

    const RoundSource& source_;
    int32_t words_ = 1;
    std::vector<uint64_t> rows_;
    std::vector<int32_t> widths_;
    std::vector<uint64_t> sum_;
};

}  // namespace qecpipe::streams
