// A session on a socket: reads, decodes and writes until the control plane has something to do.
#pragma once

#include "service/duty_cycle.h"
#include "service/session.h"

namespace qecpipe::service {

// Why `serve` returned.
enum class Served {
    kEvents,    // the session has events
    kWoken,     // the wake-up descriptor could be read; it was
    kTimeout,   // so much time has passed
    kClosed,    // the peer is gone
    kFinished,  // the session was closing, and its output is sent
};

// Serves a session on a connected stream socket.
//
// fd: of the socket. Whether it blocks does not matter.
// wake_fd: a pipe or eventfd that ends the call when it can be read, or -1.
// timeout: ns after which the call ends.
// busy_poll: ns after an event in which it asks again and again instead of sleeping,
// duty: and how much of the time that may take.
//
// Memory is bounded: what is not sent past the session's limit ends reading and decoding until it is.
// Throws std::system_error where waiting fails.
Served serve(Session& session, int fd, int wake_fd, int64_t timeout, int64_t busy_poll, DutyCycle& duty);

}  // namespace qecpipe::service
