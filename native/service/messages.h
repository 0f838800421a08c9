// MessagePack of the messages that the data plane sends: the same bytes as `encode_message` in Python.
#pragma once

#include <cstdint>
#include <string_view>

#include "service/frames.h"

namespace qecpipe::service {

// Codes of ERROR, as `ErrorCode` in Python.
enum class ErrorCode : uint8_t {
    kBadFrame = 1,
    kBadPayload = 2,
    kBadSequence = 3,
    kStaleEpoch = 4,
    kLate = 5,
    kConflict = 6,
    kOverload = 7,
    kShotFailed = 8,
    kUnknownStream = 9,
    kTooManyFaults = 22,
};

// Totals of a stream since it was opened; STATS sends them in this order.
struct Stats {
    uint64_t rounds = 0, shots = 0, commits = 0, duplicates = 0, conflicts = 0, nacks = 0, erased = 0,
             failed = 0, late = 0, overloads = 0, in_flight = 0;
};

// Appends a map's parts to a payload.
class MessageWriter {
  public:
    explicit MessageWriter(Bytes& out, uint8_t keys) : out_(out) { out_.push_back(0x80 | keys); }

    MessageWriter& text(std::string_view key, std::string_view value);
    MessageWriter& number(std::string_view key, uint64_t value);

  private:
    void put_text(std::string_view value);
    void put_number(uint64_t value);

    Bytes& out_;
};

// An ERROR; `count`: rows that it is about.
Bytes error_payload(ErrorCode code, std::string_view scope, std::string_view message, uint64_t count = 1);

Bytes stats_payload(const Stats& stats);

// RELOAD of the server, and in a journal.
Bytes reloaded_payload(std::string_view model, std::string_view model_id, uint64_t at_round);
Bytes reload_payload(std::string_view model, std::string_view kind);

}  // namespace qecpipe::service
