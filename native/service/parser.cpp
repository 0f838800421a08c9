#include "service/parser.h"

#include <cstring>
#include <string>

#include "service/crc32.h"

namespace qecpipe::service {

namespace {

template <class T>
T read(const uint8_t* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

}  // namespace

void Parser::feed(const uint8_t* data, size_t size, ParserSink& sink) {
    if (closed_) return;
    if (buffer_.empty()) {
        // What arrives is nearly always whole frames: they are not copied.
        const size_t used = parse(data, size, sink);
        if (!closed_) buffer_.assign(data + used, data + size);
        return;
    }
    buffer_.insert(buffer_.end(), data, data + size);
    const size_t used = parse(buffer_.data(), buffer_.size(), sink);
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(used));
    if (closed_) buffer_.clear();
}

size_t Parser::parse(const uint8_t* data, size_t size, ParserSink& sink) {
    size_t at = 0;
    while (!closed_ && size - at >= kHeaderBytes) {
        const size_t step = one(data + at, size - at, sink);
        if (step == 0) break;
        at += step;
    }
    return at;
}

// Handles what starts at `data`; returns the bytes it used, 0 to wait for more.
size_t Parser::one(const uint8_t* data, size_t size, ParserSink& sink) {
    if (data[0] != 'Q' || data[1] != 'D' || (crc32(data, 30) & 0xFFFF) != read<uint16_t>(data + 30)) {
        return skip(data, size, sink);
    }
    end_garbage(sink);
    const uint32_t length = read<uint32_t>(data + 12);
    const Header where{data[3], read<uint16_t>(data + 28), read<uint32_t>(data + 4), read<uint32_t>(data + 8),
                       read<uint64_t>(data + 16)};
    if (data[2] != kVersion) {
        close(sink, FaultKind::kBadVersion, where, length, "version " + std::to_string(data[2]));
        return kHeaderBytes;
    }
    const uint32_t limit = limits_.of(where.type);
    if (length > limit) {
        close(sink, FaultKind::kTooLarge, where, length,
              "payload of " + std::to_string(length) + " bytes, limit " + std::to_string(limit));
        return kHeaderBytes;
    }
    const size_t whole = kHeaderBytes + length;
    if (whole > size) return 0;
    if (where.type < 1 || where.type > kFrameTypes) {
        sink.on_fault({where, FaultKind::kUnknownType, length, "type " + std::to_string(where.type)});
    } else if (crc32(data + kHeaderBytes, length) != read<uint32_t>(data + 24)) {
        sink.on_fault({where, FaultKind::kBadCrc, length, std::string(name_of(where.type)) + " payload"});
    } else {
        sink.on_frame({where, data + kHeaderBytes, length});
    }
    return whole;
}

// Passes over bytes that start no frame, up to the next magic or what may be its first byte.
size_t Parser::skip(const uint8_t* data, size_t size, ParserSink& sink) {
    size_t step = 1;
    for (; step + 1 < size; step++) {
        const void* found = std::memchr(data + step, 'Q', size - 1 - step);
        step = found == nullptr ? size - 1 : static_cast<size_t>(static_cast<const uint8_t*>(found) - data);
        if (step + 1 < size && data[step + 1] == 'D') break;
        if (found == nullptr) break;
    }
    garbage_ += step;
    if (garbage_ > limits_.garbage_bytes) {
        close(sink, FaultKind::kTooMuchGarbage, {}, 0,
              std::to_string(garbage_) + " bytes without a frame, limit " +
                  std::to_string(limits_.garbage_bytes));
        return kHeaderBytes;
    }
    return step;
}

void Parser::end_garbage(ParserSink& sink) {
    if (garbage_ == 0) return;
    sink.on_fault({{}, FaultKind::kGarbage, 0, std::to_string(garbage_) + " bytes skipped"});
    garbage_ = 0;
}

void Parser::close(ParserSink& sink, FaultKind kind, const Header& where, uint32_t length,
                   std::string detail) {
    closed_ = true;
    sink.on_fault({where, kind, length, std::move(detail)});
}

}  // namespace qecpipe::service
