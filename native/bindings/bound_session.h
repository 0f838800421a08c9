// A service::Session as Python has it: with its decoders, and a clock that tests can set.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <map>

#include "bindings/turn.h"
#include "service/serve.h"

namespace qecpipe::bindings {

class BoundSession {
  public:
    BoundSession(const service::SessionConfig& config, bool manual_clock)
        : session_(config, manual_clock ? &BoundSession::read_clock : nullptr, this) {}

    BoundSession(const BoundSession&) = delete;
    BoundSession& operator=(const BoundSession&) = delete;

    // The session, for one call at a time: a second thread is refused (std::runtime_error).
    class Use {
      public:
        explicit Use(BoundSession& bound) : turn_(bound.busy_, "session"), session_(bound.session_) {}
        service::Session* operator->() const { return &session_; }
        service::Session& operator*() const { return session_; }

      private:
        const Turn turn_;
        service::Session& session_;
    };
    Use use() { return Use(*this); }

    void set_now(int64_t now) { now_ = now; }

    // Keeps a stream's decoder for as long as there is the stream.
    void keep(uint32_t stream, nanobind::object decoder) { decoders_[stream] = std::move(decoder); }
    void close(uint32_t stream);
    std::vector<service::Event> take_events();

  private:
    static int64_t read_clock(const void* self) { return static_cast<const BoundSession*>(self)->now_; }

    std::map<uint32_t, nanobind::object> decoders_;
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
    int64_t now_ = 0;
    service::Session session_;  // ends before its decoders
};

}  // namespace qecpipe::bindings
