// The journal of a stream: what was decoded, in order, and what came out.
//
// A segment is a file that the control plane makes, with its head (decoder_service/store/journal.py:
// identity and generation, OPEN, OPENED, the RELOAD that holds). Here it is appended to, and no record in it
// is ever changed:
//
//     ROUNDS, FINAL     rows as they were decoded, in blocks; lost ones as erased ones with SYNTHETIC.
//                       Flags besides ERASED are those of every row of the block.
//     RESET             shots [sequence, epoch) are abandoned; SYNTHETIC where the server abandoned them,
//                       and then the payload is the reason
//     RELOAD            a model took over: `model`, `kind`, with epoch and, as sequence, the round
//     COMMIT, RESULT    the outputs, after the rows that led to them
//     CLOSE             the end of the stream
//
// Records are frames of the wire, each with its own checks, so that damage costs what is damaged. They are
// written before the outputs in them are sent, by `write`, which survives the end of this process (not a loss
// of power: there is no fsync). What of an append that fails was written is cut off again, so that a file on
// a full disk ends with a whole record.
#pragma once

#include <string>

#include "service/frames.h"

namespace qecpipe::service {

// Appends records to a segment.
class Journal {
  public:
    // Without a file: what is noted is dropped.
    Journal() = default;

    // fd: of the file, at its end; it stays the caller's, and open for as long as this writes.
    // size: bytes in it already.
    Journal(int fd, uint64_t size) : fd_(fd), size_(size) {}

    // Goes on in another segment.
    void move_to(int fd, uint64_t size);

    // Notes a record; `flush` writes it.
    void note(const Header& header, const uint8_t* payload, size_t length);
    void note(const Bytes& frame);

    // Writes what was noted, all or nothing. False where the disk is full or the like: `error` says why, and
    // whether part of it had to stay in the file. Nothing more is taken.
    bool flush();

    bool open() const { return fd_ >= 0; }
    uint64_t size() const { return size_ + noted_.size(); }
    const std::string& error() const { return error_; }

  private:
    int fd_ = -1;
    uint64_t size_ = 0;
    Bytes noted_;
    std::string error_;
};

}  // namespace qecpipe::service
