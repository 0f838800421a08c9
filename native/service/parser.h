// Bytes to frames, whatever the bytes: damage comes out as faults.
#pragma once

#include "service/frames.h"

namespace qecpipe::service {

// Who is told of what a parser found, in order.
class ParserSink {
  public:
    virtual ~ParserSink() = default;
    virtual void on_frame(const Frame& frame) = 0;
    virtual void on_fault(const Fault& fault) = 0;
};

// Incremental parser of one direction of one connection.
//
// Memory is bounded by the largest frame that is allowed plus what is fed at once. A run of garbage is one
// fault, reported when the next sound header ends it, or when it exceeds `limits.garbage_bytes`.
class Parser {
  public:
    explicit Parser(const Limits& limits) : limits_(limits) {}

    // Tells `sink` of what these bytes complete; of nothing once the parser is closed.
    void feed(const uint8_t* data, size_t size, ParserSink& sink);

    // After a fault that is fatal.
    bool closed() const { return closed_; }

    // Bytes held back for a frame that is not complete yet.
    size_t buffered() const { return buffer_.size(); }

  private:
    size_t parse(const uint8_t* data, size_t size, ParserSink& sink);
    size_t one(const uint8_t* data, size_t size, ParserSink& sink);
    size_t skip(const uint8_t* data, size_t size, ParserSink& sink);
    void close(ParserSink& sink, FaultKind kind, const Header& where, uint32_t length, std::string detail);
    void end_garbage(ParserSink& sink);

    const Limits limits_;
    bool closed_ = false;
    uint64_t garbage_ = 0;
    Bytes buffer_;
};

}  // namespace qecpipe::service
