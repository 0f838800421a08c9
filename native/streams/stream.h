// One stream of shots in process: rounds in, corrections out.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "streams/front.h"
#include "streams/layer_ring.h"
#include "streams/layers.h"
#include "streams/logit_ring.h"
#include "streams/model.h"
#include "streams/rounds.h"
#include "streams/stage.h"

namespace qecpipe::streams {

// Conditions under which corrections were found, as `Flag` in Python.
enum Flags : uint8_t {
    kDegraded = 1,  // a round that was decoded as erased contributed, now or earlier in this shot
    kReloaded = 2,  // another model than the one the shot began with contributed
};

// Corrections that no later round changes.
struct Commit {
    int64_t upto_round;  // layers [0, upto_round) are committed
    int64_t round;       // the round that allowed it, the last one that was pushed
    uint8_t flags;
    const Model* model;  // of the last window in it; the stream keeps it until `adopt` or `open` is called
};

// Commits in order. `frames` holds ceil(num_observables / 64) words for each: flips of the observables by all
// that is committed so far in the shot, packed.
struct Commits {
    std::vector<Commit> items;
    std::vector<uint64_t> frames;

    void clear() { items.clear(), frames.clear(); }
};

// What became of a call.
enum class Status {
    kDone,         // all windows that can be decoded are
    kMissing,      // `missing()` has no decoder yet: add it to its model, and call `resume`
    kUnexplained,  // nothing explains the detections of `failed()`: the shot is closed
};

// A window that a model has no decoder for.
struct MissingWindow {
    int64_t serial = -1;  // of the model
    Window window{};
    int64_t num_layers = 0;  // of the experiment that it is cut from
};

// Windowed decoding of one stream of shots, each of any number of rounds. Memory is bounded whatever their
// number, and after some shots nothing is allocated any more. One thread at a time.
//
// A round is a packed row of measurements or detectors, LSB first, of ceil(width / 8) bytes. Calls with what
// does not fit throw std::invalid_argument, and nothing has changed.
class Stream {
  public:
    // short_model: decodes shots that are too short for a network whose logits windows are matched on; or
    // null.
    // gap_scale: factor on the `gap` that is found for every shot as its last window is matched; 0 where none
    // is asked for.
    Stream(std::shared_ptr<const RoundSource> source, std::shared_ptr<const Model> model,
           std::shared_ptr<const Model> short_model = nullptr, double gap_scale = 0);

    // Begins a shot, with the pre-decoder of its model in front of the windows; a model without one keeps the
    // one that is there. A shot that is open is forgotten.
    void open();
    void close() { is_open_ = false; }
    bool is_open() const { return is_open_; }

    // Rounds of the open shot that arrived, and layers that are committed.
    int64_t pushed() const { return pushed_; }
    int64_t upto() const { return upto_; }
    uint8_t flags() const { return flags_; }

    // Bits of a round that is not the last, or that is. Throws where an experiment has no such round.
    int32_t width(int64_t round, bool final) const;

    // Takes the next rounds, none of them the last.
    //
    // rows: a row every `stride` bytes, with zeros behind the round's bits.
    // erased: null, or for every round whether it carries no information; its row is then not read. Of
    //     measurements, the last known ones stand in.
    // taken: rounds that arrived; all but where a window is missing or unexplained.
    Status push(const uint8_t* rows, int64_t stride, const uint8_t* erased, int64_t count, Commits& out,
                int64_t* taken);

    // Takes the last round and decodes what is left; the shot is closed when that is done.
    Status finish(const uint8_t* row, Commits& out);

    // Goes on with windows that can be decoded.
    Status resume(Commits& out);

    // Decodes windows that commit from `at_round` on, and all later shots, with another model of the same
    // detectors. A later call wins for the windows that both are meant for. Models that no window is left for
    // are forgotten. What is in front of the windows changes with the next shot.
    void adopt(std::shared_ptr<const Model> model, int64_t at_round);

    // The model of the next window, or of the next shot.
    const Model& model() const;

    // Layers that there is room for.
    int64_t held_layers() const { return ring_.capacity(); }

    // Serials of the models that this stream may still use.
    std::vector<int64_t> serials() const;

    // The observables as they were measured in the last round, without corrections: added to packed bits. Of
    // measurements. Throws std::invalid_argument before the first round.
    void readout(uint64_t* observables) const;

    // Of the shot that ended: how much less likely, in nats, its last window's other logical class is than
    // the one that was committed, given what was committed before it. Of a shot of one window that is the
    // whole shot's gap. Not a number where there are no classes: behind a pre-decoder that removes errors,
    // with other than one observable, where a cycle of edges between detectors flips it, where the last
    // window (of parallel ones) leaves something to another, and before a shot has ended.
    double gap() const { return gap_scale_ * gap_; }

    // Flips of the observables so far, packed.
    const std::vector<uint64_t>& frame() const { return frame_; }

    const MissingWindow& missing() const { return missing_; }
    const Window& failed() const { return missing_.window; }

    // The layer that was pushed last, as a network is given it: a row of sites.
    // Throws std::invalid_argument where there is none, or no stage.
    const uint64_t* detections() {
        require_stage();
        return stage_->detections();
    }

    // Takes the logits of the next layers, where no network is in the stream; `resume` then decodes.
    void give_logits(const float* logits, int64_t layers);

    // Whether logits have to come by `give_logits`.
    bool needs_logits() const { return stage_ && !network_; }

    // Floats of a layer's logits; 0 without a stage.
    int32_t layer_size() const { return stage_ ? stage_->tables().layer_size : 0; }

    // Whether the shot that ended was too short for the network.
    bool was_short() const { return stage_ && stage_->was_short(); }

    const RoundSource& source() const { return *source_; }

  private:
    void use(std::shared_ptr<const Front> front);
    int32_t kept_logits() const;
    void check_row(int64_t round, const uint8_t* row, int64_t bytes, int32_t width) const;
    void require_open() const;
    void require_stage() const;
    void check_model(const Model& model) const;
    void take(const uint8_t* row, int64_t num_layers, bool last);
    void drain();
    Status decode_next(Commits& out);
    bool has_classes(const Window& window) const;
    void passed(const Window& window, const Model& model, Commits& out);
    const std::shared_ptr<const Model>& model_of(int64_t lo) const;
    std::shared_ptr<WindowDecoder> decoder_of(const Window& window, const Model& model, int64_t num_layers);
    void find_lost(const Window& window, int64_t num_layers);

    const std::shared_ptr<const RoundSource> source_;
    const std::shared_ptr<const Model> short_model_;
    const double gap_scale_;
    std::shared_ptr<const Front> front_;
    std::unique_ptr<Stage> stage_;  // of the front; one shot at a time, as its network
    std::unique_ptr<LayerNetwork> network_;
    std::shared_ptr<const Model> current_;  // as the shot began
    std::vector<std::pair<int64_t, std::shared_ptr<const Model>>> adopted_;
    bool is_open_ = false, ending_ = false, is_short_ = false;
    int64_t num_layers_ = 0;  // of the experiment; without end before it is known
    int64_t pushed_ = 0, received_ = 0, upto_ = 0, ahead_ = 0;
    uint8_t flags_ = 0;
    double gap_ = std::numeric_limits<double>::quiet_NaN();
    RecentRounds recent_;
    LayerRing ring_, flips_;  // detections by site; observables that a stage flipped with every layer
    LogitRing logits_;
    Plan plan_;
    std::vector<uint64_t> frame_, row_;
    std::vector<float> network_logits_;
    std::vector<int64_t> erased_;  // rounds that some window may still read
    MissingWindow missing_;
    // Of the window at hand.
    WindowKey key_;
    std::vector<Component> lost_;
};

}  // namespace qecpipe::streams
