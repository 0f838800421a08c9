#include "service/session.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>

namespace qecpipe::service {

namespace {

int64_t system_clock(const void*) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

Session::Session(const SessionConfig& config, Clock clock, const void* context)
    : config_(config), clock_(clock == nullptr ? system_clock : clock), context_(context) {
    parser_.emplace(config_.limits);
}

void Session::attach() {
    parser_.emplace(config_.limits);
    out_.clear();
    sent_ = 0, faults_ = 0;
    stalled_ = closing_ = false;
    waiting_.clear();
    for (auto& [number, stream] : streams_) {
        stream->announced = false;
        stream->resume_deadlines(now());
    }
}

void Session::feed(const uint8_t* data, size_t size) {
    arrival_ = now();
    parser_->feed(data, size, *this);
    answer_waiting();
    bound_output();
}

void Session::on_frame(const Frame& frame) {
    if (closing_) return;
    StreamSession* stream = find(frame.stream);
    switch (static_cast<FrameType>(frame.type)) {
        case FrameType::kHello:
        case FrameType::kOpen:
        case FrameType::kReload:
        case FrameType::kUpload: to_control(frame, frame.payload, frame.length); return;
        case FrameType::kPing:
        case FrameType::kClose: {
            const bool ping = frame.is(FrameType::kPing);
            const size_t length = ping ? std::min(frame.length, kPingBytes) : frame.length;
            const uint64_t ordinal = stream == nullptr ? 0 : stream->ordering().expected();
            waiting_.push_back({frame, Bytes(frame.payload, frame.payload + length), ordinal});
            return;
        }
        default: break;
    }
    if (stream == nullptr) {
        error(frame, ErrorCode::kUnknownStream, "frame",
              std::string(name_of(frame.type)) + " for stream " + std::to_string(frame.stream) +
                  ", which is not open");
        return;
    }
    stream->receive(frame, arrival_, out_);
    if (stream->has_work()) line_up(*stream);
}

void Session::on_fault(const Fault& fault) {
    if (closing_) return;
    StreamSession* stream = find(fault.stream);
    if (stream == nullptr || fault.fatal()) {
        error({0, 0, fault.stream}, ErrorCode::kBadFrame, "frame", fault.detail);
    } else {
        stream->fault(fault, arrival_, out_);
    }
    faults_++;
    if (faults_ == config_.faults + 1) {
        error({}, ErrorCode::kTooManyFaults, "connection",
              "more than " + std::to_string(config_.faults) + " damaged frames on this connection");
    }
    closing_ = fault.fatal() || faults_ > config_.faults;
    events_.push_back(Damaged{fault.kind, closing_});
}

void Session::to_control(const Header& header, const uint8_t* payload, size_t length) {
    events_.push_back(ControlFrame{header, Bytes(payload, payload + length)});
}

void Session::error(const Header& about, ErrorCode code, const char* scope, const std::string& message) {
    append_frame(out_, header(FrameType::kError, about.stream), error_payload(code, scope, message));
}

bool Session::work() {
    bool more = false;
    if (StreamSession* stream = stalled_ || closing_ ? nullptr : next_in_turn(&more)) {
        if (work_on(*stream)) {
            more |= stream->has_work();
            stream->turn = 0;
            bound_output();
        } else {
            events_.push_back(JournalFailed{stream->number(), stream->journal().error()});
            remove(stream->number());
        }
    }
    answer_waiting();
    return more && !stalled_;
}

// The stream that has waited longest; and whether others wait.
StreamSession* Session::next_in_turn(bool* others) {
    StreamSession* found = nullptr;
    for (auto& [number, stream] : streams_) {
        if (!stream->has_work()) {
            stream->turn = 0;
            continue;
        }
        line_up(*stream);
        *others = found != nullptr;
        if (found == nullptr || stream->turn < found->turn) found = stream.get();
    }
    return found;
}

void Session::line_up(StreamSession& stream) {
    if (stream.turn == 0) stream.turn = ++turns_;
}

// A time slice of a stream; false if its journal failed.
bool Session::work_on(StreamSession& stream) {
    scratch_.clear();
    const Worked worked = stream.work(clock_, context_, now() + config_.time_slice, scratch_);
    if (worked == Worked::kFailed) return false;
    out_.insert(out_.end(), scratch_.begin(), scratch_.end());
    // A slice ends where a journal is due: a swap came before, and the next segment's head has to name it.
    if (std::optional<Swap> swap = stream.take_swapped()) events_.push_back(Swapped{stream.number(), *swap});
    if (worked == Worked::kBlocked) events_.push_back(Blocked{stream.number()});
    if (worked == Worked::kBoundary) events_.push_back(JournalDue{stream.number()});
    stream.credit(false, out_);
    return true;
}

// Answers PINGs, and hands on CLOSEs, that everything before them is decoded for.
void Session::answer_waiting() {
    size_t kept = 0;
    for (Waiting& waiting : waiting_) {
        StreamSession* stream = find(waiting.header.stream);
        if (stream != nullptr && stream->ordering().decoded() < waiting.ordinal) {
            if (&waiting != &waiting_[kept]) waiting_[kept] = std::move(waiting);
            kept++;
        } else if (waiting.header.is(FrameType::kPing)) {
            append_frame(out_, waiting.header, waiting.payload);
            if (stream != nullptr) stream->credit(true, out_);
        } else {
            to_control(waiting.header, waiting.payload.data(), waiting.payload.size());
        }
    }
    waiting_.resize(kept);
}

// A client that does not read is not read from, nor decoded for.
void Session::bound_output() { stalled_ |= output_size() > config_.output_bytes; }

void Session::tick() {
    if (stalled_) return;
    const int64_t time = now();
    for (auto& [number, stream] : streams_) {
        const std::optional<int64_t> due = stream->next_deadline();
        if (due && *due <= time) stream->tick(time, out_);
    }
}

std::optional<int64_t> Session::next_deadline() const {
    std::optional<int64_t> first;
    for (const auto& [number, stream] : streams_) {
        const std::optional<int64_t> due = stream->next_deadline();
        if (due && (!first || *due < *first)) first = due;
    }
    return first;
}

void Session::sent(size_t bytes) {
    sent_ += bytes;
    if (sent_ == out_.size()) out_.clear(), sent_ = 0;
    if (sent_ > config_.output_bytes) {
        out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(sent_));
        sent_ = 0;
    }
    if (stalled_ && 2 * output_size() < config_.output_bytes) {
        stalled_ = false;
        for (auto& [number, stream] : streams_) stream->resume_deadlines(now());
    }
}

StreamSession& Session::add(uint32_t stream, Shape shape, RowDecoder& decoder, Journal journal,
                            const StreamOptions& options) {
    if (find(stream) != nullptr)
        throw std::invalid_argument("stream " + std::to_string(stream) + " is open already");
    auto added = std::make_unique<StreamSession>(stream, std::move(shape), options.ordering, decoder,
                                                 std::move(journal), options.segment_bytes, options.start,
                                                 options.outputs);
    return *(streams_[stream] = std::move(added));
}

StreamSession* Session::find(uint32_t stream) {
    const auto found = streams_.find(stream);
    return found == streams_.end() ? nullptr : found->second.get();
}

StreamSession& Session::get(uint32_t stream) {
    StreamSession* found = find(stream);
    if (found == nullptr) throw std::invalid_argument("stream " + std::to_string(stream) + " is not open");
    return *found;
}

void Session::remove(uint32_t stream) { streams_.erase(stream); }

bool Session::at_rest() const {
    return std::all_of(streams_.begin(), streams_.end(), [](const auto& entry) {
        return entry.second->ordering().in_flight() == 0 && entry.second->place().sequence == 0;
    });
}

}  // namespace qecpipe::service
