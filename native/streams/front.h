// What is in front of a stream's windows: a pre-decoder.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "streams/stage.h"

namespace qecpipe::streams {

// A network that takes layers one by one. One shot at a time.
class LayerNetwork {
  public:
    virtual ~LayerNetwork() = default;

    // Begins a shot.
    virtual void start() = 0;

    // Layers whose logits one call may yield.
    virtual int64_t most() const = 0;

    // Takes the detections of the next layer, a row of sites; `last` ends the shot. Writes to `logits` those
    // of all layers that become known, in order, and returns how many.
    virtual int64_t push(const uint64_t* row, bool last, float* logits) = 0;
};

// A pre-decoder, with the noise features and thresholds of one error model; streams share it.
struct Front {
    std::shared_ptr<const StageTables> tables;
    std::function<std::unique_ptr<LayerNetwork>()>
        make_network;  // empty: logits come by `Stream::give_logits`
};

}  // namespace qecpipe::streams
