// A stream in process as the decoder of a stream on the wire.
#pragma once

#include <memory>
#include <string>

#include "service/row_decoder.h"
#include "service/shape.h"
#include "streams/stream.h"

namespace qecpipe::service {

// Decodes with a `streams::Stream`, which stays the caller's and is used by nothing else.
//
// A window that its model has no decoder for blocks: it is added to the model, as `streams::Stream::missing`
// says, and the session unblocked; or `give_up` says why it cannot be.
class StreamRowDecoder : public RowDecoder {
  public:
    // shape: of the stream's rows. measured: its RESULTs have readouts. Throws std::invalid_argument where
    // the stream has another number of observables, or a network that is not in it.
    StreamRowDecoder(streams::Stream& stream, Shape shape, bool measured);

    void open(uint32_t epoch) override;
    Progress push(uint64_t sequence, const uint8_t* rows, const uint8_t* erased, uint64_t count,
                  Outcomes& out) override;
    Progress finish(uint64_t sequence, const uint8_t* row, Outcomes& out) override;
    Progress resume(Outcomes& out) override;
    const std::string& reason() const override { return reason_; }
    void adopt(uint64_t at_round) override;
    ModelId model() const override { return model_; }

    // What `adopt` takes over.
    void prepare(std::shared_ptr<const streams::Model> model) { prepared_ = std::move(model); }

    // The window that blocks cannot be built: its shot is abandoned.
    void give_up(std::string reason);

  private:
    static ModelId id_of(const std::string& hexadecimal);
    Decoded decoded(streams::Status status, Outcomes& out);
    void append(Outcomes& out);

    streams::Stream& stream_;
    const Shape shape_;
    const bool measured_;
    ModelId model_;
    std::shared_ptr<const streams::Model> prepared_;
    streams::Commits commits_;
    bool finishing_ = false, given_up_ = false;
    std::string reason_;
};

}  // namespace qecpipe::service
