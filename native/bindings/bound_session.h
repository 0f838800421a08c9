// A service::Session as Python has it: with its decoders, and a clock that tests can set.
#pragma once

#include <nanobind/nanobind.h>

#include <map>

#include "service/serve.h"

namespace qecpipe::bindings {

class BoundSession {
  public:
    BoundSession(const service::SessionConfig& config, bool manual_clock)
        : session_(config, manual_clock ? &BoundSession::read_clock : nullptr, this) {}

    BoundSession(const BoundSession&) = delete;
    BoundSession& operator=(const BoundSession&) = delete;

    service::Session& session() { return session_; }
    void set_now(int64_t now) { now_ = now; }

    // Keeps a stream's decoder for as long as there is the stream.
    void keep(uint32_t stream, nanobind::object decoder) { decoders_[stream] = std::move(decoder); }
    void close(uint32_t stream);
    std::vector<service::Event> take_events();

  private:
    static int64_t read_clock(const void* self) { return static_cast<const BoundSession*>(self)->now_; }

    std::map<uint32_t, nanobind::object> decoders_;
    int64_t now_ = 0;
    service::Session session_;  // ends before its decoders
};

}  // namespace qecpipe::bindings
