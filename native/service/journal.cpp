#include "service/journal.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace qecpipe::service {

namespace {

// Cuts the last bytes of a file off that this process has just appended to; an empty text, or why it cannot.
std::string take_back(int fd, uint64_t bytes) {
    const off_t end = ::lseek(fd, 0, SEEK_CUR);
    if (end >= static_cast<off_t>(bytes) && ::ftruncate(fd, end - static_cast<off_t>(bytes)) == 0) return {};
    return "; its last " + std::to_string(bytes) +
           " bytes are no whole record, and stay: " + std::strerror(errno);
}

}  // namespace

void Journal::move_to(int fd, uint64_t size) {
    fd_ = fd;
    size_ = size;
    noted_.clear();
    error_.clear();
}

void Journal::note(const Header& header, const uint8_t* payload, size_t length) {
    if (open()) append_frame(noted_, header, payload, length);
}

void Journal::note(const Bytes& frame) {
    if (open()) noted_.insert(noted_.end(), frame.begin(), frame.end());
}

bool Journal::flush() {
    if (!error_.empty()) return false;
    uint64_t written = 0;
    while (written < noted_.size()) {
        const ssize_t count = ::write(fd_, noted_.data() + written, noted_.size() - written);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) {
            error_ = std::string("journal: ") + (count < 0 ? std::strerror(errno) : "nothing was written");
            if (written > 0) error_ += take_back(fd_, written);
            noted_.clear();
            return false;
        }
        written += static_cast<uint64_t>(count);
    }
    size_ += written;
    noted_.clear();
    return true;
}

}  // namespace qecpipe::service
