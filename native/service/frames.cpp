#include "service/frames.h"

#include <cstring>

#include "service/crc32.h"

namespace qecpipe::service {

namespace {

constexpr std::array<std::string_view, kFrameTypes + 1> kNames = {
    "",     "HELLO", "OPEN",   "OPENED", "ROUNDS", "FINAL", "COMMIT", "RESULT", "CREDIT",
    "NACK", "RESET", "RELOAD", "ERROR",  "STATS",  "PING",  "CLOSE",  "UPLOAD",
};

// The fields of a header as they lie in memory; all machines that are served are little-endian.
struct Layout {
    uint8_t magic[2];
    uint8_t version, type;
    uint32_t stream, epoch, length;
    uint64_t sequence;
    uint32_t payload_crc;
    uint16_t flags, check;
};
static_assert(sizeof(Layout) == kHeaderBytes);
constexpr size_t kChecked = kHeaderBytes - 2;

void seal(uint8_t* frame) {
    const auto check = static_cast<uint16_t>(crc32(frame, kChecked));
    std::memcpy(frame + kChecked, &check, sizeof check);
}

}  // namespace

std::string_view name_of(uint8_t type) { return kNames[type <= kFrameTypes ? type : 0]; }

void write_header(Bytes& out, size_t begin, const Header& header) {
    uint8_t* frame = out.data() + begin;
    const size_t length = out.size() - begin - kHeaderBytes;
    Layout layout{};
    layout.magic[0] = 'Q', layout.magic[1] = 'D';
    layout.version = kVersion, layout.type = header.type;
    layout.stream = header.stream, layout.epoch = header.epoch;
    layout.length = static_cast<uint32_t>(length), layout.sequence = header.sequence;
    layout.payload_crc = crc32(frame + kHeaderBytes, length);
    layout.flags = header.flags;
    std::memcpy(frame, &layout, sizeof layout);
    seal(frame);
}

void append_frame(Bytes& out, const Header& header, const uint8_t* payload, size_t length) {
    const size_t begin = out.size();
    out.resize(begin + kHeaderBytes + length);
    if (length > 0) std::memcpy(out.data() + begin + kHeaderBytes, payload, length);
    write_header(out, begin, header);
}

void add_flags(uint8_t* frame, uint16_t flags) {
    uint16_t before;
    std::memcpy(&before, frame + kChecked - 2, sizeof before);
    before |= flags;
    std::memcpy(frame + kChecked - 2, &before, sizeof before);
    seal(frame);
}

uint32_t Limits::of(uint8_t type) const {
    if (type == static_cast<uint8_t>(FrameType::kRounds) || type == static_cast<uint8_t>(FrameType::kFinal)) {
        return round_bytes;
    }
    return type == static_cast<uint8_t>(FrameType::kUpload) ? upload_bytes : control_bytes;
}

}  // namespace qecpipe::service
