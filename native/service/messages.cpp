#include "service/messages.h"

namespace qecpipe::service {

namespace {

// A number with its most significant byte first, after what says which kind it is.
void put_big(Bytes& out, uint8_t kind, uint64_t value, int bytes) {
    out.push_back(kind);
    for (int byte = bytes - 1; byte >= 0; byte--) out.push_back(static_cast<uint8_t>(value >> 8 * byte));
}

}  // namespace

void MessageWriter::put_text(std::string_view value) {
    if (value.size() < 32) {
        out_.push_back(0xA0 | static_cast<uint8_t>(value.size()));
    } else if (value.size() < 256) {
        put_big(out_, 0xD9, value.size(), 1);
    } else if (value.size() < 65536) {
        put_big(out_, 0xDA, value.size(), 2);
    } else {
        put_big(out_, 0xDB, value.size(), 4);
    }
    out_.insert(out_.end(), value.begin(), value.end());
}

void MessageWriter::put_number(uint64_t value) {
    if (value < 128) {
        out_.push_back(static_cast<uint8_t>(value));
    } else if (value < 256) {
        put_big(out_, 0xCC, value, 1);
    } else if (value < 65536) {
        put_big(out_, 0xCD, value, 2);
    } else if (value < uint64_t{1} << 32) {
        put_big(out_, 0xCE, value, 4);
    } else {
        put_big(out_, 0xCF, value, 8);
    }
}

MessageWriter& MessageWriter::text(std::string_view key, std::string_view value) {
    put_text(key), put_text(value);
    return *this;
}

MessageWriter& MessageWriter::number(std::string_view key, uint64_t value) {
    put_text(key), put_number(value);
    return *this;
}

Bytes error_payload(ErrorCode code, std::string_view scope, std::string_view message, uint64_t count) {
    Bytes out;
    MessageWriter writer(out, count == 1 ? 3 : 4);
    writer.number("code", static_cast<uint64_t>(code)).text("scope", scope).text("message", message);
    if (count != 1) writer.number("count", count);
    return out;
}

Bytes stats_payload(const Stats& stats) {
    Bytes out;
    MessageWriter(out, 11)
        .number("rounds", stats.rounds)
        .number("shots", stats.shots)
        .number("commits", stats.commits)
        .number("duplicates", stats.duplicates)
        .number("conflicts", stats.conflicts)
        .number("nacks", stats.nacks)
        .number("erased", stats.erased)
        .number("failed", stats.failed)
        .number("late", stats.late)
        .number("overloads", stats.overloads)
        .number("in_flight", stats.in_flight);
    return out;
}

Bytes reloaded_payload(std::string_view model, std::string_view model_id, uint64_t at_round) {
    Bytes out;
    MessageWriter(out, 3).text("model", model).text("model_id", model_id).number("at_round", at_round);
    return out;
}

Bytes reload_payload(std::string_view model, std::string_view kind) {
    Bytes out;
    MessageWriter(out, 2).text("model", model).text("kind", kind);
    return out;
}

}  // namespace qecpipe::service
