// The streams of one client: bytes in, bytes out, and what the control plane has to do. No sockets.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <variant>

#include "service/parser.h"
#include "service/stream_session.h"

namespace qecpipe::service {

struct SessionConfig {
    Limits limits;
    uint64_t faults = 1000;           // damaged frames on one connection, after which it is ended
    uint64_t output_bytes = 1 << 20;  // unsent output past which nothing more is read or decoded
    int64_t time_slice = 200000;      // ns of decoding for a stream before the next one
};

// A frame for the control plane. A CLOSE of an open stream comes once everything before it is decoded.
struct ControlFrame {
    Header header;
    Bytes payload;
};

// A model took over.
struct Swapped {
    uint32_t stream;
    Swap swap;
};

// A stream's decoder waits for something to be built: `Session::unblock`.
struct Blocked {
    uint32_t stream;
};

// A stream is between two shots, and its journal due for the next segment: `Session::continue_journal`.
struct JournalDue {
    uint32_t stream;
};

// A stream's journal failed: it was removed. Its client has not been told.
struct JournalFailed {
    uint32_t stream;
    std::string reason;
};

// Damage on the wire; `fatal`: the connection is to be closed once the output is sent.
struct Damaged {
    FaultKind kind;
    bool fatal;
};

using Event = std::variant<ControlFrame, Swapped, Blocked, JournalDue, JournalFailed, Damaged>;

// What a stream begins with.
struct StreamOptions {
    OrderingConfig ordering;
    uint64_t segment_bytes = 64 << 20;
    Place start{0, 0};
    uint64_t outputs = 0;
};

// A client session over any number of connections, one at a time. One thread at a time.
class Session : private ParserSink {
  public:
    // clock: ns, monotonic; by default the system's.
    explicit Session(const SessionConfig& config, Clock clock = nullptr, const void* context = nullptr);

    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Goes on over a new connection: nothing of the old one's is left, and no stream is announced.
    void attach();

    // Takes bytes that arrived. Answers are in `output`, what concerns the control plane in `events`.
    void feed(const uint8_t* data, size_t size);

    // Lets the stream that has waited longest decode for a time slice; true if there is more to do now. What
    // it says is in the output then, and can be sent before the next stream has its turn.
    bool work();

    // NACKs and erasures that are due.
    void tick();

    // When `tick` is due, ns of the clock.
    std::optional<int64_t> next_deadline() const;
    int64_t now() const { return clock_(context_); }

    // Unsent output; what was sent is taken off its front.
    const Bytes& output() const { return out_; }
    size_t output_size() const { return out_.size() - sent_; }
    const uint8_t* output_data() const { return out_.data() + sent_; }
    void sent(size_t bytes);

    // Whether nothing more is read or decoded until output is sent.
    bool stalled() const { return stalled_; }

    // Whether the connection is to be closed once the output is sent.
    bool closing() const { return closing_; }

    std::vector<Event> take_events() { return std::exchange(events_, {}); }
    bool has_events() const { return !events_.empty(); }

    // Frames of the control plane, encoded, after all that is sent already.
    void send(const uint8_t* frames, size_t size) { out_.insert(out_.end(), frames, frames + size); }

    // The stream exists from now on; `decoder` must outlive it. Throws std::invalid_argument if it does
    // already.
    StreamSession& add(uint32_t stream, Shape shape, RowDecoder& decoder, Journal journal,
                       const StreamOptions& options);
    StreamSession* find(uint32_t stream);
    // Throws std::invalid_argument where there is none.
    StreamSession& get(uint32_t stream);
    void remove(uint32_t stream);
    const std::map<uint32_t, std::unique_ptr<StreamSession>>& streams() const { return streams_; }

    // Whether every stream is between two shots with nothing in flight.
    bool at_rest() const;

  private:
    // A PING or CLOSE, and the ordinal that must be decoded before its answer.
    struct Waiting {
        Header header;
        Bytes payload;
        uint64_t ordinal;
    };

    void on_frame(const Frame& frame) override;
    void on_fault(const Fault& fault) override;
    void to_control(const Header& header, const uint8_t* payload, size_t length);
    void error(const Header& about, ErrorCode code, const char* scope, const std::string& message);
    StreamSession* next_in_turn(bool* others);
    void line_up(StreamSession& stream);
    bool work_on(StreamSession& stream);
    void answer_waiting();
    void bound_output();

    const SessionConfig config_;
    const Clock clock_;
    const void* const context_;
    std::map<uint32_t, std::unique_ptr<StreamSession>> streams_;
    std::optional<Parser> parser_;
    Bytes out_, scratch_;
    size_t sent_ = 0;
    uint64_t faults_ = 0, turns_ = 0;
    bool stalled_ = false, closing_ = false;
    int64_t arrival_ = 0;
    std::vector<Event> events_;
    std::vector<Waiting> waiting_;
};

}  // namespace qecpipe::service
