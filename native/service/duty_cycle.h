// Rest for threads of real-time priority that would otherwise ask again and again without end.
#pragma once

#include <cstdint>
#include <optional>

namespace qecpipe::service {

// Lets a thread run for no more than a share of the time.
//
// Once threads of real-time priority have run on a core for 95 % of a second, Linux stops them for the rest
// of it (sched_rt_runtime_us): 50 ms in which nothing is sent, nor decoded. And what has no such priority,
// some of the kernel's threads among it, needs time too. So the thread sleeps by itself, for some tens of
// microseconds at a time, and best where there is nothing to do.
//
// For one thread, from the first call on.
class DutyCycle {
  public:
    // most: share of the time that the thread may run; 1 or more is all of it.
    //
    // Throws std::invalid_argument if it is not above 0.
    explicit DutyCycle(double most);

    // Sleeps if the thread has run for too long; whether it did.
    //
    // now: ns of the monotonic clock.
    // busy: there is something to do, and so only what can wait no longer is slept.
    bool rest(int64_t now, bool busy);

  private:
    const double most_;
    std::optional<int64_t> looked_;  // at the clock of the thread's running time,
    int64_t ran_ = 0;                // which then said this
    double excess_ = 0;              // ns that it ran for too long; below 0: that it may
};

}  // namespace qecpipe::service
