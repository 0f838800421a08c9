#include "streams/stream.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

namespace qecpipe::streams {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

void flip_bits(std::vector<uint64_t>& words, const std::vector<int32_t>& bits) {
    for (int32_t bit : bits) words[bit >> 6] ^= uint64_t{1} << (bit & 63);
}

// Whether a window reads something of an error that it does not leave to others.
bool is_seen(const Window& window, const Component& error) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool reads = false;
    for (const Place& at : error.detectors) {
        const int64_t layer = error.layer + at.layer;
        low = std::min(low, layer), high = std::max(high, layer);
        reads = reads || (window.start <= layer && layer < window.stop);
    }
    return reads && !window.drops(low, high);
}

}  // namespace

Stream::Stream(std::shared_ptr<const RoundSource> source, std::shared_ptr<const Model> model,
               std::shared_ptr<const Model> short_model, double gap_scale)
    : source_(std::move(source)), short_model_(std::move(short_model)), gap_scale_(gap_scale),
      current_(std::move(model)), recent_(*source_), ring_(source_->num_sites),
      flips_(source_->num_observables), logits_(0), plan_(current_->sizes, 0),
      frame_((source_->num_observables + 63) / 64), row_(ring_.words()) {
    source_->check();
    check_model(*current_);
    if (short_model_) check_model(*short_model_);
    if (current_->front) use(current_->front);
}

// Puts a pre-decoder in front of the windows.
void Stream::use(std::shared_ptr<const Front> front) {
    front_ = std::move(front);
    stage_ = std::make_unique<Stage>(front_->tables);
    network_ = front_->make_network ? front_->make_network() : nullptr;
    logits_ = LogitRing(kept_logits());
    network_logits_.resize(network_ ? network_->most() * layer_size() : 0);
}

int32_t Stream::kept_logits() const { return front_ && front_->tables->keeps_logits ? layer_size() : 0; }

void Stream::open() {
    if (!adopted_.empty()) current_ = adopted_.back().second;
    adopted_.clear();
    if (current_->front && current_->front != front_) use(current_->front);
    is_open_ = true, ending_ = is_short_ = false;
    num_layers_ = source_->layers.endless();
    pushed_ = received_ = upto_ = ahead_ = 0;
    flags_ = 0;
    gap_ = std::numeric_limits<double>::quiet_NaN();
    recent_.clear();
    ring_.clear(), flips_.clear(), logits_.clear();
    if (stage_) stage_->start();
    if (network_) network_->start();
    plan_ = Plan(current_->sizes, current_->layers.endless());
    std::fill(frame_.begin(), frame_.end(), 0);
    flip_bits(frame_, current_->certain_observables);
    erased_.clear();
}

int32_t Stream::width(int64_t round, bool final) const {
    const LayerSequence& layers = source_->layers;
    if (final) {
        if (const std::string why = source_->why_not_last(round); !why.empty()) refuse(why);
        return source_->round(round, round + 1).width;
    }
    if (round < 0 || round >= layers.endless() - 1) {
        refuse("round " + std::to_string(round) + " cannot be pushed: the experiment has " +
               std::to_string(layers.endless()) +
               " rounds and does not repeat, so its last one belongs to finish()");
    }
    return source_->round(round, layers.endless()).width;
}

Status Stream::push(const uint8_t* rows, int64_t stride, const uint8_t* erased, int64_t count, Commits& out,
                    int64_t* taken) {
    require_open();
    *taken = 0;
    for (int64_t k = 0; k < count; k++) {
        const int32_t bits = width(pushed_ + k, false);
        if (!erased || !erased[k]) check_row(pushed_ + k, rows + k * stride, stride, bits);
    }
    Status status = resume(out);
    for (; status == Status::kDone && *taken < count; (*taken)++) {
        const bool lost = erased && erased[*taken];
        if (lost) {
            flags_ |= kDegraded;
            erased_.push_back(pushed_);
        }
        take(lost ? nullptr : rows + *taken * stride, source_->layers.endless(), false);
        status = resume(out);
    }
    return status;
}

Status Stream::finish(const uint8_t* row, Commits& out) {
    require_open();
    const int32_t bits = width(pushed_, true);
    check_row(pushed_, row, (bits + 7) / 8, bits);
    num_layers_ = pushed_ + 1;
    ending_ = true;
    take(row, num_layers_, true);
    plan_.end_with(num_layers_);
    return resume(out);
}

Status Stream::resume(Commits& out) {
    if (ending_ && received_ < num_layers_) return Status::kDone;  // logits are still to come
    while (is_open_) {
        const int64_t slack = model_of(plan_.window().lo)->slack;
        if (ending_ ? upto_ >= num_layers_ : plan_.window().stop + slack > received_ + 1) break;
        if (const Status status = decode_next(out); status != Status::kDone) return status;
    }
    if (ending_ && upto_ >= num_layers_) close();
    return Status::kDone;
}

void Stream::adopt(std::shared_ptr<const Model> model, int64_t at_round) {
    check_model(*model);
    adopted_.emplace_back(at_round, std::move(model));
    if (is_open_) {
        // Windows still to come commit from `upto_` on: none is left for what the last model of those has
        // replaced.
        const auto begins = [&](const auto& adopted) { return adopted.first <= upto_; };
        adopted_.erase(adopted_.begin(),
                       std::find_if(adopted_.rbegin(), std::prev(adopted_.rend()), begins).base() - 1);
        return;
    }
    current_ = adopted_.back().second;
    adopted_.clear();
}

const Model& Stream::model() const { return is_open_ ? *model_of(plan_.window().lo) : *current_; }

std::vector<int64_t> Stream::serials() const {
    std::vector<int64_t> found{current_->serial};
    for (const auto& [at_round, model] : adopted_) found.push_back(model->serial);
    if (short_model_) found.push_back(short_model_->serial);
    return found;
}

void Stream::readout(uint64_t* observables) const {
    if (pushed_ == 0) refuse("no round of a shot came, so nothing was measured");
    const uint64_t* row = recent_.row_of(pushed_ - 1);
    for (size_t k = 0; k < source_->observables.size(); k++) {
        uint64_t bit = source_->observable_parities[k];
        for (int32_t index : source_->observables[k]) bit ^= row[index >> 6] >> (index & 63) & 1;
        observables[k >> 6] |= bit << (k & 63);
    }
}

void Stream::give_logits(const float* logits, int64_t layers) {
    require_stage();
    if (stage_->seen() + layers > pushed_) {
        refuse("logits of " + std::to_string(layers) + " layers after layer " +
               std::to_string(stage_->seen()) + ", but only " + std::to_string(pushed_) + " came");
    }
    for (int64_t k = 0; k < layers; k++) {
        logits_.put(stage_->seen(), logits + k * layer_size());
        stage_->logits(logits + k * layer_size());
    }
    drain();
}

// Layers that the stage is done with go to the windows.
void Stream::drain() {
    stage_->drain([&](const uint64_t* layer, const uint64_t* flips) {
        ring_.reach(received_), flips_.reach(received_);
        uint64_t* row = ring_.row(received_);
        for (int32_t w = 0; w < ring_.words(); w++) row[w] ^= layer[w];
        std::copy_n(flips, flips_.words(), flips_.row(received_));
        received_++;
    });
    // Windows that a network weighs cannot be weighed without it: those of a short shot have a model of their
    // own.
    is_short_ = stage_->was_short() && short_model_;
}

void Stream::check_row(int64_t round, const uint8_t* row, int64_t bytes, int32_t width) const {
    const int64_t whole = width / 8;
    if (bytes < (width + 7) / 8) {
        refuse("round " + std::to_string(round) + " has " + std::to_string(bytes) + " bytes; " +
               std::to_string((width + 7) / 8) + " are due for its " + std::to_string(width) + " bits");
    }
    bool clean = width % 8 == 0 || row[whole] >> (width % 8) == 0;
    for (int64_t k = (width + 7) / 8; k < bytes; k++) clean = clean && row[k] == 0;
    if (!clean) {
        refuse("round " + std::to_string(round) + " has bits set behind its " + std::to_string(width) +
               "; pad rows with zeros");
    }
}

void Stream::require_open() const {
    if (!is_open_ || ending_) refuse("no shot is open; call open(shot) first");
}

void Stream::require_stage() const {
    if (!is_open_ || !stage_ || pushed_ == 0) refuse("no shot with a stage is open, or no round of it came");
}

void Stream::check_model(const Model& model) const {
    for (int32_t k : model.certain_observables) {
        if (k < 0 || k >= source_->num_observables) refuse("a model with an observable " + std::to_string(k));
    }
    if (!model.front) return;
    const StageTables& tables = *model.front->tables;
    if (tables.num_sites != source_->num_sites || tables.num_observables != source_->num_observables) {
        refuse("a stage of " + std::to_string(tables.num_sites) + " sites in a stream of " +
               std::to_string(source_->num_sites));
    }
}

// The next round becomes a layer.
void Stream::take(const uint8_t* bits, int64_t num_layers, bool last) {
    const RoundKind& round = source_->round(pushed_, num_layers);
    if (!stage_) {
        ring_.reach(received_);
        recent_.take(pushed_++, round, bits, ring_.row(received_));
        received_++;
        return;
    }
    std::fill(row_.begin(), row_.end(), 0);
    recent_.take(pushed_++, round, bits, row_.data());
    stage_->put(row_.data(), last);
    if (network_)
        give_logits(network_logits_.data(),
                    network_->push(stage_->detections(), last, network_logits_.data()));
}

Status Stream::decode_next(Commits& out) {
    const Window window = plan_.window();
    const std::shared_ptr<const Model>& model = model_of(window.lo);
    const int64_t num_layers = ending_ ? model->cut_from(window, num_layers_) : model->layers.endless();
    const std::shared_ptr<WindowDecoder> decoder = decoder_of(window, *model, num_layers);
    missing_ = {model->serial, window, num_layers};
    if (!decoder) return Status::kMissing;
    if (model != current_ && !is_short_) flags_ |= kReloaded;
    double* gap = gap_scale_ > 0 && has_classes(window) ? &gap_ : nullptr;
    if (!decoder->decode(ring_, logits_, window.start, frame_.data(), gap)) {
        close();
        return Status::kUnexplained;
    }
    plan_.advance();
    passed(window, *model, out);
    return Status::kDone;
}

// Whether a window leaves nothing open: it commits all that it sees, to the end of the shot, and a network
// only weighs its edges.
bool Stream::has_classes(const Window& window) const {
    return ending_ && window.hi == num_layers_ && window.start == window.lo &&
           (!stage_ || is_short_ || stage_->tables().keeps_logits);
}

// A window was decoded: what is committed without a gap goes out.
void Stream::passed(const Window& window, const Model& model, Commits& out) {
    ahead_ = std::max(ahead_, window.hi);
    if (window.lo != upto_) return;
    if (stage_) {
        for (int64_t t = upto_; t < ahead_; t++) {
            for (int32_t w = 0; w < flips_.words(); w++) frame_[w] ^= flips_.row(t)[w];
        }
        flips_.forget(ahead_);
    }
    upto_ = ahead_;
    ring_.forget(upto_);
    logits_.forget(upto_ - 1);  // moves of the layer before a window reach into it
    if (!erased_.empty()) {
        std::erase_if(erased_, [&](int64_t round) {
            const std::vector<Component>& lost = source_->round(round, num_layers_).lost;
            return std::none_of(lost.begin(), lost.end(),
                                [&](const Component& error) { return round + error.layer >= upto_; });
        });
    }
    out.items.push_back({upto_, pushed_ - 1, flags_, &model});
    out.frames.insert(out.frames.end(), frame_.begin(), frame_.end());
}

const std::shared_ptr<const Model>& Stream::model_of(int64_t lo) const {
    if (is_short_) return short_model_;
    for (auto adopted = adopted_.rbegin(); adopted != adopted_.rend(); ++adopted) {
        if (adopted->first <= lo) return adopted->second;
    }
    return current_;
}

std::shared_ptr<WindowDecoder> Stream::decoder_of(const Window& window, const Model& model,
                                                  int64_t num_layers) {
    model.key_of(window, num_layers, key_);
    std::shared_ptr<WindowDecoder> decoder = model.windows->find(key_);
    if (decoder) decoder->require(source_->num_sites, source_->num_observables, kept_logits());
    if (!decoder || erased_.empty()) return decoder;
    find_lost(window, num_layers_);
    if (lost_.empty()) return decoder;
    for (const Component& error : lost_) {
        key_.push_back(-2);  // no kind of a layer
        key_.push_back(static_cast<int32_t>(error.layer - window.start));
        for (const Place& at : error.detectors) key_.push_back(at.layer), key_.push_back(at.site);
        key_.push_back(-3);
        for (int32_t observable : error.observables) key_.push_back(observable);
    }
    return model.windows->freed(*decoder, key_, window, lost_);
}

// What erased rounds add to a window.
void Stream::find_lost(const Window& window, int64_t num_layers) {
    lost_.clear();
    for (int64_t round : erased_) {
        for (Component error : source_->round(round, num_layers).lost) {
            error.layer += round;
            if (is_seen(window, error)) lost_.push_back(std::move(error));
        }
    }
}

}  // namespace qecpipe::streams
