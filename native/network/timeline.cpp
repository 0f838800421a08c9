#include "network/timeline.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace qecpipe::network {

namespace {

int64_t even(int64_t layers) { return layers + layers % 2; }

}  // namespace

Timeline::Timeline(std::map<int64_t, std::vector<Biases>> tables, int64_t repeats_from, int64_t period,
                   int64_t tail, int64_t ahead)
    : tables_(std::move(tables)), repeats_from_(repeats_from), period_(period), tail_(tail), ahead_(ahead) {
    if (tables_.empty()) throw std::invalid_argument("a timeline of no experiment");
    if (repeats_from < 0 || period < 0 || tail < 0 || ahead < 0)
        throw std::invalid_argument("a timeline's repeats_from, period, tail and ahead are not negative");
    for (const auto& [layers, table] : tables_)
        if (layers < 1 || static_cast<int64_t>(table.size()) != even(layers))
            throw std::invalid_argument("biases of " + std::to_string(table.size()) + " layers for " +
                                        std::to_string(layers) + " with detectors");
    const int64_t known = static_cast<int64_t>(tables_.rbegin()->second.size());
    if (period && repeats_from + period + tail > known)
        throw std::invalid_argument("the longest experiment, of " + std::to_string(known) +
                                    " layers, does not hold " + std::to_string(repeats_from) + " + " +
                                    std::to_string(period) + " + " + std::to_string(tail));
}

Experiment Timeline::view(int64_t layers, const std::vector<Biases>& table) const {
    const int64_t size = static_cast<int64_t>(table.size());
    return {layers, table.data(), size, period_ ? repeats_from_ : size, std::max<int64_t>(period_, 1), tail_};
}

Experiment Timeline::endless() const { return view(kEndless, tables_.rbegin()->second); }

Experiment Timeline::of(int64_t layers) const {
    if (const auto found = tables_.find(layers); found != tables_.end())
        return view(even(layers), found->second);
    for (auto longest = tables_.rbegin(); period_ && longest != tables_.rend(); ++longest) {
        const int64_t added = layers - longest->first;
        if (added < 0) break;
        if (added % period_ == 0 && added % 2 == 0) return view(even(layers), longest->second);
    }
    throw std::invalid_argument("an experiment has no " + std::to_string(layers) + " layers");
}

Biases Timeline::largest() const {
    Biases most{0, 0};
    for (const auto& [layers, table] : tables_)
        for (const Biases& biases : table) {
            if (biases.first_layer < 0 || biases.position < 0)
                throw std::invalid_argument("a layer's biases have a negative number");
            most = {std::max(most.first_layer, biases.first_layer), std::max(most.position, biases.position)};
        }
    return most;
}

}  // namespace qecpipe::network
