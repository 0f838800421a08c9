// The load's side of a connection: blocks out when they are due, bytes in with the time at which they came.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "service/duty_cycle.h"
#include "service/frames.h"

namespace qecpipe::service {

// What is sent, in the order in which it is due.
struct LoadBlocks {
    Bytes data;                    // the frames of all blocks, one after the other
    std::vector<int64_t> due;      // ns from the start
    std::vector<uint64_t> end;     // in `data`
    std::vector<uint32_t> stream;  // its place among the streams
    std::vector<uint64_t> rows;    // of that stream up to the block's end
};

// A stream that the load is for.
struct LoadStream {
    uint32_t number;         // on the wire
    uint64_t rows_per_shot;  // the final one included
    uint64_t before;         // rows sent before the load
    uint32_t window;         // rows that may be in flight
};

struct LoadLimits {
    int64_t spin;     // ns before a due time in which it asks again and again instead of sleeping
    int64_t max_lag;  // ns that a block may be overdue
    int64_t silence;  // ns without a byte from the service, when nothing is left to send
    double running;   // share of the time that the load may run, 1 or more: all of it
};

enum class Pumped {
    kMore,        // the time for this call is over
    kDone,        // all was sent, and as many outputs came as were expected
    kOverloaded,  // a block was overdue for too long: no more are sent; `expect` says what is still to come
    kRefused,     // an ERROR came, with the last chunk
    kClosed,      // the peer closed the connection
    kSilent,      // nothing came for too long
};

// One run. Between its begin and its end nothing is allocated, unless more comes than outputs.
class Pump {
  public:
    // outputs: COMMITs and RESULTs that have to come, of at most `output_bytes` each.
    //
    // Throws std::invalid_argument for blocks that do not fit each other or the streams.
    Pump(LoadBlocks blocks, std::vector<LoadStream> streams, LoadLimits limits, uint64_t outputs,
         size_t output_bytes);

    // Sends and receives for at most so many ns, on a connected stream socket; time starts `lead` ns after
    // the first call. Throws std::system_error where the connection is lost.
    Pumped run(int fd, int64_t lead, int64_t time);

    // After kOverloaded: as many outputs come in all.
    void expect(uint64_t outputs) { expected_ = outputs; }

    uint64_t outputs() const { return outputs_; }
    uint64_t blocks_sent() const { return allowed_; }
    uint64_t held_back() const { return held_back_; }  // times that a due block found no credit

    // What was received: (ns from the start, where it ends in `received`).
    const std::vector<std::pair<int64_t, size_t>>& chunks() const { return chunks_; }
    const Bytes& received() const { return received_; }

    // When each block was given to the socket, ns from the start.
    const std::vector<int64_t>& sent_at() const { return sent_at_; }

  private:
    int64_t now() const;
    bool overdue(int64_t time);
    bool send(int fd, int64_t time);
    std::optional<Pumped> receive(int fd);
    void read_heads();
    void read_head(const uint8_t* frame);
    void rest(int fd, int64_t time) const;

    const LoadBlocks blocks_;
    std::vector<LoadStream> streams_;
    std::vector<uint64_t> limit_;  // of every stream, rows that may be sent
    const LoadLimits limits_;
    DutyCycle duty_;
    uint64_t expected_, outputs_ = 0;
    uint64_t last_, due_ = 0,
                    allowed_ = 0;  // blocks: to be sent at all, due, and sent as far as the socket takes
    uint64_t held_back_ = 0;
    size_t at_ = 0, used_ = 0, parsed_ = 0;  // bytes sent, received, and in whole frames
    uint64_t handed_ = 0;                    // blocks whose bytes the socket has all taken
    bool waiting_ = false, refused_ = false;
    std::optional<int64_t> start_;
    int64_t heard_ = 0;
    Bytes received_;
    std::vector<std::pair<int64_t, size_t>> chunks_;
    std::vector<int64_t> sent_at_;
};

}  // namespace qecpipe::service
