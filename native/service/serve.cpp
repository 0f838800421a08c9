#include "service/serve.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace qecpipe::service {

namespace {

constexpr size_t kReceiveBytes = 1 << 16;
constexpr int64_t kWakeEvery = 200000;  // ns between looks at the wake-up descriptor while there is work

class Loop {
  public:
    Loop(Session& session, int fd, int wake_fd, int64_t busy_poll, DutyCycle& duty)
        : session_(session), fd_(fd), wake_fd_(wake_fd), busy_poll_(busy_poll), duty_(duty),
          buffer_(kReceiveBytes) {}

    Served run(int64_t timeout) {
        const int64_t end = session_.now() + timeout;
        for (;;) {
            const bool received = receive();
            if (gone_) return Served::kClosed;
            const int64_t now = session_.now();
            const std::optional<int64_t> due = session_.next_deadline();
            if (due && *due <= now) session_.tick();
            const bool more = session_.work();
            if (!flush()) return Served::kClosed;
            if (session_.has_events()) return Served::kEvents;
            if (session_.closing() && session_.output_size() == 0) return Served::kFinished;
            if (now >= end) return Served::kTimeout;
            if (received || more) spin_until_ = now + busy_poll_;
            const bool busy = received || more || now < spin_until_;
            if ((!busy || now >= look_at_) && wait(busy, now, end)) return Served::kWoken;
            if (busy) duty_.rest(now, received || more);
        }
    }

  private:
    // Takes what has arrived; whether that was anything.
    bool receive() {
        if (session_.stalled() || session_.closing()) return false;
        const ssize_t size = ::recv(fd_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (size > 0) session_.feed(buffer_.data(), static_cast<size_t>(size));
        gone_ = size == 0 || (size < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
        return size > 0;
    }

    // Sends what the socket takes; false if the peer is gone.
    bool flush() {
        while (session_.output_size() > 0) {
            const ssize_t size =
                ::send(fd_, session_.output_data(), session_.output_size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (size >= 0) {
                session_.sent(static_cast<size_t>(size));
            } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return true;
            } else if (errno != EINTR) {
                return false;
            }
        }
        return true;
    }

    // Waits for something to do, not at all if `busy`; whether we were woken.
    bool wait(bool busy, int64_t now, int64_t end) {
        look_at_ = now + kWakeEvery;
        pollfd fds[2] = {{wake_fd_, POLLIN, 0}, {fd_, 0, 0}};
        if (!session_.stalled() && !session_.closing()) fds[1].events |= POLLIN;
        if (session_.output_size() > 0) fds[1].events |= POLLOUT;
        timespec timeout{0, 0};
        if (!busy) {
            const int64_t until =
                std::min(end, session_.stalled() ? end : session_.next_deadline().value_or(end));
            const int64_t left = std::max<int64_t>(0, until - now);
            timeout = {static_cast<time_t>(left / 1000000000), static_cast<long>(left % 1000000000)};
        }
        // A poll in milliseconds would round deadlines up.
        if (::ppoll(fds, 2, &timeout, nullptr) < 0 && errno != EINTR) {
            throw std::system_error(errno, std::generic_category(), "waiting for a client");
        }
        if (!(fds[0].revents & POLLIN)) return false;
        uint8_t woken[64];
        while (::read(wake_fd_, woken, sizeof woken) == sizeof woken) {
        }
        return true;
    }

    Session& session_;
    const int fd_, wake_fd_;
    const int64_t busy_poll_;
    DutyCycle& duty_;
    Bytes buffer_;
    bool gone_ = false;
    int64_t spin_until_ = 0, look_at_ = 0;
};

}  // namespace

Served serve(Session& session, int fd, int wake_fd, int64_t timeout, int64_t busy_poll, DutyCycle& duty) {
    return Loop(session, fd, wake_fd, busy_poll, duty).run(timeout);
}

}  // namespace qecpipe::service
