// The windows of a detector error model, as streams decode them.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "streams/front.h"
#include "streams/window_decoder.h"

namespace qecpipe::streams {

// Sizes and rules of a window and the kinds of the layers that it may see something of, as `CutKey` in
// Python: windows of equal keys are equal.
using WindowKey = std::vector<int32_t>;

// Decoders of windows by their keys, and the latest of those with erased rounds. Threads may share one.
class WindowSet {
  public:
    // most_erased_bytes: of memory, for decoders of windows with erased rounds, of which there is no end.
    explicit WindowSet(size_t most_erased_bytes) : most_erased_bytes_(most_erased_bytes) {}

    void add(WindowKey key, std::shared_ptr<WindowDecoder> decoder) {
        const std::lock_guard lock(lock_);
        by_key_[std::move(key)] = std::move(decoder);
    }

    // The decoder of a window, or null where it was not added.
    std::shared_ptr<WindowDecoder> find(const WindowKey& key) const {
        const std::lock_guard lock(lock_);
        const auto found = by_key_.find(key);
        return found == by_key_.end() ? nullptr : found->second;
    }

    // The same with errors that are as likely as not, at most so many of which are kept. `key` is of both.
    std::shared_ptr<WindowDecoder> freed(const WindowDecoder& base, const WindowKey& key, const Window& at,
                                         std::span<const Component> errors) {
        {
            const std::lock_guard lock(lock_);
            if (std::shared_ptr<WindowDecoder> found = latest(key)) return found;
        }
        // Without the lock: other threads go on meanwhile, and one may be faster with the same window.
        std::shared_ptr<WindowDecoder> decoder = base.freed(at, errors);
        const std::lock_guard lock(lock_);
        if (std::shared_ptr<WindowDecoder> found = latest(key)) return found;
        erased_bytes_ += decoder->num_bytes();
        latest_.emplace_front(key, decoder);
        erased_[key] = latest_.begin();
        while (erased_bytes_ > most_erased_bytes_ && latest_.size() > 1) {
            erased_bytes_ -= latest_.back().second->num_bytes();
            erased_.erase(latest_.back().first);
            latest_.pop_back();
        }
        return decoder;
    }

    size_t size() const {
        const std::lock_guard lock(lock_);
        return by_key_.size();
    }

    size_t num_erased() const {
        const std::lock_guard lock(lock_);
        return latest_.size();
    }

    size_t erased_bytes() const {
        const std::lock_guard lock(lock_);
        return erased_bytes_;
    }

  private:
    using Latest = std::list<std::pair<WindowKey, std::shared_ptr<WindowDecoder>>>;

    // A decoder that was freed, which is the latest now; or null. The lock is held.
    std::shared_ptr<WindowDecoder> latest(const WindowKey& key) {
        const auto found = erased_.find(key);
        if (found == erased_.end()) return nullptr;
        latest_.splice(latest_.begin(), latest_, found->second);
        return latest_.front().second;
    }

    size_t most_erased_bytes_, erased_bytes_ = 0;
    mutable std::mutex lock_;
    std::map<WindowKey, std::shared_ptr<WindowDecoder>> by_key_;
    Latest latest_;
    std::map<WindowKey, Latest::iterator> erased_;
};

// What a stream knows of an error model: how its layers follow each other, and its windows.
class Model {
  public:
    // slack: layers that must follow a window's last before it is known to look like any other, at least 1.
    // reach: the largest number of layers from an error's first detector to its last.
    // ahead: layers after a window that what it looks like depends on, besides.
    // front: the pre-decoder before the windows; null where there is none, or a stream keeps its own.
    Model(std::string id, LayerSequence layers, int64_t reach, int64_t ahead, WindowSizes sizes,
          int64_t slack, std::vector<int32_t> certain_observables, std::shared_ptr<WindowSet> windows,
          std::shared_ptr<const Front> front = nullptr)
        : id(std::move(id)), layers(std::move(layers)), reach(reach), ahead(ahead), sizes(sizes),
          slack(slack), certain_observables(std::move(certain_observables)), windows(std::move(windows)),
          front(std::move(front)), serial(next_serial()) {}

    // The key of a window of an experiment of `num_layers`; `key` is overwritten.
    void key_of(const Window& window, int64_t num_layers, WindowKey& key) const {
        key.clear();
        for (int64_t size :
             {window.lo - window.start, window.hi - window.start, window.stop - window.start}) {
            key.push_back(static_cast<int32_t>(size));
        }
        key.push_back(window.past_closed);
        key.push_back(window.future_closed);
        for (int64_t t = window.start - reach; t < window.stop + ahead; t++)
            key.push_back(layers.kind(t, num_layers));
    }

    // Layers of the experiment that a window is cut from: one without end, where it sees no end.
    int64_t cut_from(const Window& window, int64_t num_layers) const {
        return window.stop + slack + ahead <= num_layers ? layers.endless() : num_layers;
    }

    const std::string id;
    const LayerSequence layers;
    const int64_t reach, ahead;
    const WindowSizes sizes;
    const int64_t slack;
    const std::vector<int32_t> certain_observables;  // flipped from the beginning
    const std::shared_ptr<WindowSet> windows;
    const std::shared_ptr<const Front> front;
    const int64_t serial;  // no other model of this process has it

  private:
    static int64_t next_serial() {
        static std::atomic<int64_t> count{0};
        return count++;
    }
};

}  // namespace qecpipe::streams
