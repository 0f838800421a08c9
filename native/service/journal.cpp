#include "service/journal.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace qecpipe::service {

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
    const uint8_t* from = noted_.data();
    size_t left = noted_.size();
    while (left > 0) {
        const ssize_t written = ::write(fd_, from, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            error_ = std::string("journal: ") + (written < 0 ? std::strerror(errno) : "nothing was written");
            noted_.clear();
            return false;
        }
        from += written, left -= static_cast<size_t>(written), size_ += static_cast<uint64_t>(written);
    }
    noted_.clear();
    return true;
}

}  // namespace qecpipe::service
