// One stream of the protocol from OPEN to CLOSE, without sockets: frames and times in, frames out. As
// `StreamSession` in Python, with the decoder and the journal.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "service/journal.h"
#include "service/messages.h"
#include "service/ordering.h"
#include "service/output_log.h"
#include "service/row_decoder.h"

namespace qecpipe::service {

// ns of a monotonic clock, which tests replace.
using Clock = int64_t (*)(const void* context);

// A model that takes over at a window boundary.
struct Swap {
    std::string model;  // SHA-256 of its text, in hex
    std::string kind;   // "circuit" or "dem"
    uint32_t epoch = 0;
    uint64_t at_round = 0;
};

// What `StreamSession::work` came to.
enum class Worked {
    kIdle,      // nothing is left that can be done now
    kMore,      // there is more
    kBlocked,   // the decoder waits for something to be built
    kBoundary,  // between two shots, with a journal that is due for its next segment
    kFailed,    // the journal: its outputs must not be sent, and the stream cannot go on
};

// Times of rows that were decoded, in ns, summed over rows, and counted by their power of two.
struct Latencies {
    uint64_t rows = 0, waited = 0, decoding = 0;
    std::array<uint64_t, 40> waited_log2{}, decoding_log2{};

    void count(uint64_t rows_decoded, int64_t wait, int64_t decode);
};

class StreamSession {
  public:
    // decoder: warm; it stays the caller's. start: ordinal of the first row; `outputs`: COMMITs and RESULTs
    // before it, of a stream that is restored. segment_bytes: a journal segment is due for its end at the
    // first shot boundary past this size.
    StreamSession(uint32_t stream, Shape shape, const OrderingConfig& config, RowDecoder& decoder,
                  Journal journal, uint64_t segment_bytes, Place start, uint64_t outputs);

    // Takes a ROUNDS, FINAL, RESET or STATS of this stream; the answers are appended to `out`.
    void receive(const Frame& frame, int64_t now, Bytes& out);

    // A damaged frame of this stream: asked for again at once if it was data.
    void fault(const Fault& fault, int64_t now, Bytes& out);

    // NACKs again, and deals with gaps whose deadline has passed.
    void tick(int64_t now, Bytes& out);
    void resume_deadlines(int64_t now);
    std::optional<int64_t> next_deadline() const { return ordering_.next_deadline(); }

    // Does the next things that are ready: a chunk of rows, a skip or a swap, at least one.
    //
    // until: it begins nothing more after this time.
    Worked work(Clock clock, const void* context, int64_t until, Bytes& out);
    bool has_work() const;

    // What was built is there: `work` goes on.
    void unblock() { may_resume_ = true; }

    // CREDIT, if the window moved by a quarter since the last one, or moved at all and `force`.
    void credit(bool force, Bytes& out);

    // The model that the decoder has prepared takes over at the next window boundary.
    void swap_at_boundary(std::string model, std::string kind);
    std::optional<Swap> take_swapped() { return std::exchange(swapped_, std::nullopt); }

    // A conflict was found in the shot that goes on, before a restart.
    void mark_conflict() { ordering_.add_conflict(place().epoch); }

    uint32_t number() const { return stream_; }
    const Shape& shape() const { return shape_; }
    Ordering& ordering() { return ordering_; }
    const Ordering& ordering() const { return ordering_; }
    OutputLog& log() { return log_; }
    Journal& journal() { return journal_; }
    Latencies& latencies() { return latencies_; }
    RowDecoder& decoder() { return decoder_; }
    const Stats& stats();

    // The first row that is not decoded.
    Place place() const { return shape_.place(ordering_.decoded()); }

    // Whether outputs, and that a RESET or RELOAD is done, may be sent: after an OPENED on the present
    // connection, which says where the stream is and by what model. Before, outputs are only kept.
    bool announced = false;

    // Its place among those that wait for their turn, 0 if it does not; the owner's.
    uint64_t turn = 0;

  private:
    // Rows that are being decoded.
    struct Chunk {
        uint32_t epoch = 0;
        uint64_t sequence = 0, count = 0, taken = 0;
        uint16_t flags = 0;
        bool erased = false, blocked = false;
    };

    int64_t forward(int64_t now);
    void answer(Bytes& out, FrameType type, uint32_t epoch, uint64_t sequence, const Bytes& payload);
    void error(Bytes& out, ErrorCode code, const char* scope, const std::string& message, uint32_t epoch,
               uint64_t sequence, uint64_t count = 1);
    void refuse(const Frame& frame, const Judged& run, Bytes& out);
    void nacks(int64_t now, Bytes& out);
    void expire(const Gap& gap, int64_t now);
    void reset(const Frame& frame, Bytes& out);
    void abandon(const Skip& skip);

    bool begin_chunk();
    uint16_t marks(uint32_t epoch, uint16_t flags) const;
    Decoded decode_chunk();
    void end_chunk(Decoded state, int64_t taken_at, int64_t now, Bytes& out);
    void record(const Chunk& chunk, uint64_t rows);
    void skip(const Skip& skip, int64_t now, Bytes& out);
    bool swap(Bytes& out);
    void send_output(const Bytes& frame, Bytes& out);

    const uint32_t stream_;
    const Shape shape_;
    RowDecoder& decoder_;
    Journal journal_;
    const uint64_t segment_bytes_;
    Ordering ordering_;
    OutputLog log_;
    Stats stats_;
    Latencies latencies_;
    std::optional<Swap> swap_, swapped_;
    std::optional<Chunk> chunk_;
    bool may_resume_ = false;  // what a blocked chunk waits for is there
    bool ended_shot_ = false;  // by the last chunk
    Outcomes outcomes_;
    Bytes block_;   // of the chunk: its count, rows and erasure bits, as in a frame
    Bytes erased_;  // of the chunk's rows
    std::vector<int64_t> arrived_;
    std::optional<uint32_t> degraded_, last_reset_;
    std::vector<Judged> judged_;
    uint64_t told_;
    int64_t clock_ = 0;
};

}  // namespace qecpipe::service
