// Frames of the wire (docs/protocol.md, "Frames"): a header of 32 little-endian bytes, and a payload.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qecpipe::service {

using Bytes = std::vector<uint8_t>;

constexpr uint8_t kVersion = 2;
constexpr size_t kHeaderBytes = 32;
constexpr size_t kPingBytes = 64;                // longest payload of a PING that is echoed
constexpr size_t kCountBytes = 2;                // of a block: the number of its rows, before them
constexpr uint32_t kWholeSession = 0xFFFFFFFFu;  // stream number of a CLOSE that ends the session
constexpr uint32_t kLastEpoch = 0xFFFFFFFFu;  // no shot has it, so that the one after any shot fits a header

enum class FrameType : uint8_t {
    kHello = 1,
    kOpen,
    kOpened,
    kRounds,
    kFinal,
    kCommit,
    kResult,
    kCredit,
    kNack,
    kReset,
    kReload,
    kError,
    kStats,
    kPing,
    kClose,
    kUpload,
};
constexpr uint8_t kFrameTypes = 16;

// The name of a frame type in messages, such as "ROUNDS"; the number must be one.
std::string_view name_of(uint8_t type);

// Bits of a header's flags.
enum Flag : uint16_t {
    kErased = 1,
    kDegraded = 2,
    kFailed = 4,
    kConflict = 8,
    kResent = 16,
    kSynthetic = 32,
    kReloaded = 64,
    kGap = 128,
};

// What a header says besides the length and the checks.
struct Header {
    uint8_t type = 0;
    uint16_t flags = 0;
    uint32_t stream = 0;
    uint32_t epoch = 0;
    uint64_t sequence = 0;

    bool is(FrameType of) const { return type == static_cast<uint8_t>(of); }
    bool is_data() const { return is(FrameType::kRounds) || is(FrameType::kFinal); }
};

inline Header header(FrameType type, uint32_t stream, uint32_t epoch = 0, uint64_t sequence = 0,
                     uint16_t flags = 0) {
    return {static_cast<uint8_t>(type), flags, stream, epoch, sequence};
}

// A frame in a parser's buffer: the payload lives as long as the call that it is handed to.
struct Frame : Header {
    const uint8_t* payload = nullptr;
    size_t length = 0;
};

// Appends a frame to `out`. The payload must not lie in `out`.
void append_frame(Bytes& out, const Header& header, const uint8_t* payload, size_t length);
inline void append_frame(Bytes& out, const Header& header, const Bytes& payload = {}) {
    append_frame(out, header, payload.data(), payload.size());
}

// Completes a frame whose header's place and payload are at `begin` of `out` already: writes the header.
void write_header(Bytes& out, size_t begin, const Header& header);

// Sets more flags in a frame that is encoded already.
void add_flags(uint8_t* frame, uint16_t flags);

// Numbers, little-endian, at the end of a payload.
template <class T>
void append_number(Bytes& out, T value) {
    for (size_t byte = 0; byte < sizeof(T); byte++) out.push_back(static_cast<uint8_t>(value >> 8 * byte));
}

// What one peer accepts of the other; announced in HELLO.
struct Limits {
    uint32_t round_bytes = 1 << 16;
    uint32_t control_bytes = 1 << 16;
    uint32_t upload_bytes = 1 << 18;
    uint64_t garbage_bytes = 1 << 16;

    uint32_t of(uint8_t type) const;
};

enum class FaultKind { kGarbage, kBadCrc, kUnknownType, kBadVersion, kTooLarge, kTooMuchGarbage };

// Damage on the wire; the header's fields are zero where its check did not hold.
struct Fault : Header {
    FaultKind kind = FaultKind::kGarbage;
    uint32_t length = 0;
    std::string detail;

    // Whether what follows cannot be trusted.
    bool fatal() const { return kind >= FaultKind::kBadVersion; }
};

}  // namespace qecpipe::service
