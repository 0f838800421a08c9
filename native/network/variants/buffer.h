// Memory for vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace qecpipe::network::QECPIPE_VARIANT {

// Zeros, on a boundary of a cache line.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t size) : data_(new (kLine) T[static_cast<size_t>(size)]()) {}

    T* operator+(int64_t offset) const { return data_.get() + offset; }
    T& operator[](int64_t at) const { return data_.get()[at]; }

  private:
    static constexpr std::align_val_t kLine{64};
    struct Delete {
        void operator()(T* data) const { ::operator delete[](data, kLine); }
    };
    std::unique_ptr<T[], Delete> data_;
};

}  // namespace qecpipe::network::QECPIPE_VARIANT
