#include "service/pump.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>

namespace qecpipe::service {

namespace {

constexpr size_t kSendBytes = 1 << 16, kReceiveBytes = 1 << 18;
constexpr int64_t kLongestRest = 1000000;  // ns

int64_t clock_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

template <class T>
T number_at(const uint8_t* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

void check(const LoadBlocks& blocks, size_t streams) {
    const auto need = [](bool fits, const char* what) {
        if (!fits) throw std::invalid_argument(std::string("a load has ") + what);
    };
    const size_t count = blocks.due.size();
    need(blocks.end.size() == count && blocks.stream.size() == count && blocks.rows.size() == count,
         "columns of different lengths");
    need(std::is_sorted(blocks.due.begin(), blocks.due.end()),
         "blocks that are not in the order of their due times");
    need(std::is_sorted(blocks.end.begin(), blocks.end.end()), "blocks that end before those before them");
    need(count == 0 || blocks.end.back() == blocks.data.size(), "bytes of no block");
    for (uint32_t stream : blocks.stream) need(stream < streams, "a block of no stream");
}

}  // namespace

Pump::Pump(LoadBlocks blocks, std::vector<LoadStream> streams, LoadLimits limits, uint64_t outputs,
           size_t output_bytes)
    : blocks_(std::move(blocks)), streams_(std::move(streams)), limits_(limits), duty_(limits.running),
      expected_(outputs), last_(blocks_.due.size()) {
    check(blocks_, streams_.size());
    for (const LoadStream& stream : streams_) limit_.push_back(stream.window);
    // Written to now: a page that is touched for the first time costs as much as a round.
    received_.resize(outputs * output_bytes + 2 * kReceiveBytes);
    chunks_.resize(outputs + last_), chunks_.clear();
    sent_at_.resize(last_);
}

int64_t Pump::now() const { return clock_ns() - *start_; }

Pumped Pump::run(int fd, int64_t lead, int64_t time) {
    if (!start_) start_ = clock_ns() + lead, heard_ = -lead;
    const int64_t until = now() + time;
    for (;;) {
        const int64_t at = now();
        if (overdue(at)) return Pumped::kOverloaded;
        const bool sent = send(fd, at);
        if (const std::optional<Pumped> ended = receive(fd)) return *ended;
        const bool received = !chunks_.empty() && chunks_.back().first >= at;
        if (!sent && !received) {
            if (allowed_ == last_ && handed_ == allowed_) {
                if (outputs_ >= expected_ && parsed_ == used_) return Pumped::kDone;
                if (at - heard_ > limits_.silence) return Pumped::kSilent;
            }
            rest(fd, at);
        }
        duty_.rest(at, sent || received);
        if (at >= until) return Pumped::kMore;
    }
}

// Moves on to blocks that are due and have credit; whether one has waited for it for too long.
bool Pump::overdue(int64_t time) {
    while (due_ < last_ && blocks_.due[due_] <= time) due_++;
    while (allowed_ < due_ && blocks_.rows[allowed_] <= limit_[blocks_.stream[allowed_]]) allowed_++;
    const bool waiting = due_ > allowed_;
    if (waiting && !waiting_) held_back_++;
    waiting_ = waiting;
    if (!waiting || time - blocks_.due[allowed_] <= limits_.max_lag) return false;
    last_ = due_ = allowed_;
    waiting_ = false;
    return true;
}

// Whether the socket took anything.
bool Pump::send(int fd, int64_t time) {
    const size_t stop = allowed_ == 0 ? 0 : blocks_.end[allowed_ - 1];
    if (at_ == stop) return false;
    const ssize_t size =
        ::send(fd, blocks_.data.data() + at_, std::min(stop - at_, kSendBytes), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return false;
        throw std::system_error(errno, std::generic_category());
    }
    at_ += static_cast<size_t>(size);
    while (handed_ < allowed_ && blocks_.end[handed_] <= at_) sent_at_[handed_++] = time;
    return true;
}

// Why the run is over, if it is.
std::optional<Pumped> Pump::receive(int fd) {
    if (received_.size() - used_ < kReceiveBytes) received_.resize(2 * received_.size());
    const ssize_t size = ::recv(fd, received_.data() + used_, kReceiveBytes, MSG_DONTWAIT);
    if (size == 0) return Pumped::kClosed;
    if (size < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
        throw std::system_error(errno, std::generic_category());
    }
    heard_ = now();
    used_ += static_cast<size_t>(size);
    chunks_.emplace_back(heard_, used_);
    read_heads();
    return refused_ ? std::optional(Pumped::kRefused) : std::nullopt;
}

// What the loop has to know of the frames that came: how far credit goes, and how many outputs.
void Pump::read_heads() {
    while (used_ - parsed_ >= kHeaderBytes) {
        const uint8_t* frame = received_.data() + parsed_;
        const size_t size = kHeaderBytes + number_at<uint32_t>(frame + 12);
        if (used_ - parsed_ < size) return;
        read_head(frame);
        parsed_ += size;
    }
}

void Pump::read_head(const uint8_t* frame) {
    const auto type = static_cast<FrameType>(frame[3]);
    const uint32_t number = number_at<uint32_t>(frame + 4), epoch = number_at<uint32_t>(frame + 8);
    const uint64_t sequence = number_at<uint64_t>(frame + 16);
    outputs_ += type == FrameType::kCommit || type == FrameType::kResult;
    refused_ |= type == FrameType::kError;
    for (size_t place = 0; place < streams_.size(); place++) {
        LoadStream& stream = streams_[place];
        if (stream.number != number) continue;
        uint64_t acknowledged = 0;
        if (type == FrameType::kResult) {
            acknowledged = (uint64_t{epoch} + 1) * stream.rows_per_shot;
        } else if (type == FrameType::kCredit && number_at<uint32_t>(frame + 12) >= 4) {
            stream.window = number_at<uint32_t>(frame + kHeaderBytes);
            acknowledged = epoch * stream.rows_per_shot + sequence;
        } else {
            return;
        }
        // Rows before it need no credit any more.
        const uint64_t rows = acknowledged + stream.window;
        if (rows > stream.before) limit_[place] = std::max(limit_[place], rows - stream.before);
        return;
    }
}

// Nothing is to be done: sleeps until something arrives or the next block is nearly due.
void Pump::rest(int fd, int64_t time) const {
    const int64_t next = due_ < last_ ? blocks_.due[due_] : time + kLongestRest + limits_.spin;
    const int64_t left = std::min(next - time, kLongestRest + limits_.spin) - limits_.spin;
    if (left <= 0) return;
    pollfd readable{fd, POLLIN, 0};
    const timespec timeout{0, static_cast<long>(left)};
    if (::ppoll(&readable, 1, &timeout, nullptr) < 0 && errno != EINTR) {
        throw std::system_error(errno, std::generic_category());
    }
}

}  // namespace qecpipe::service
