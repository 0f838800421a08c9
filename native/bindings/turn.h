// What bindings need where an object is for one thread at a time, and where times come in seconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace qecpipe::bindings {

// One thread's use of an object, from here to the end of the scope; a second one is refused.
class Turn {
  public:
    // what: the object, for the message. Throws std::runtime_error while another turn goes on.
    Turn(std::atomic_flag& busy, const char* what) : busy_(busy) {
        if (busy_.test_and_set(std::memory_order_acquire)) {
            throw std::runtime_error("another thread uses this " + std::string(what) + " now");
        }
    }
    ~Turn() { busy_.clear(std::memory_order_release); }

    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

  private:
    std::atomic_flag& busy_;
};

// Seconds in ns; infinity, and what no clock reaches, is a time that none does. Throws std::invalid_argument
// for negative ones and NaN.
inline int64_t nanoseconds(const char* name, double seconds) {
    if (!(seconds >= 0))
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(seconds) + " s");
    constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;
    return seconds < 1e-9 * static_cast<double>(kNever) ? static_cast<int64_t>(1e9 * seconds) : kNever;
}

}  // namespace qecpipe::bindings
