#include "service/duty_cycle.h"

#include <time.h>

#include <algorithm>
#include <stdexcept>

namespace qecpipe::service {

namespace {

constexpr int64_t kLookEvery = 100000;  // ns between looks at the thread's clock, a system call
constexpr double kRest = 60000;         // ns to sleep at a time: being woken takes half as long again
constexpr double kOverdue = 4 * kRest;  // ns to sleep in any case
constexpr double kCredit = 5e6;         // ns of running, of sleep that was not needed

// The kernel's own account of the thread: time in which a sleep begins or ends counts.
int64_t running_time() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

}  // namespace

DutyCycle::DutyCycle(double most) : most_(most) {
    if (!(most > 0)) throw std::invalid_argument("most: the share of the time must be above 0");
}

bool DutyCycle::rest(int64_t now, bool busy) {
    if (most_ >= 1 || (looked_ && now - *looked_ < kLookEvery)) return false;
    const int64_t ran = running_time();
    if (looked_) {
        excess_ += static_cast<double>(ran - ran_) - most_ * static_cast<double>(now - *looked_);
        excess_ = std::max(excess_, -kCredit);
    }
    looked_ = now, ran_ = ran;
    if (excess_ < most_ * (busy ? kOverdue : kRest)) return false;
    const auto time = static_cast<long>(std::min(excess_ / most_, 5e8));
    const timespec sleep{0, time};
    ::nanosleep(&sleep, nullptr);
    return true;
}

}  // namespace qecpipe::service
