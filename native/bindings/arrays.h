// NumPy arrays as arguments and results: checked before their memory is touched.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace qecpipe::bindings {

// Any array that can be read: what it must be is said by `checked`.
using AnyArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;

constexpr int64_t kAny = -1;  // a dimension of whatever size

// The type as NumPy calls it, such as "float32".
std::string name_of(nanobind::dlpack::dtype type);

// An array with its elements one after another; a copy, where it had others between them.
//
// Throws std::invalid_argument (ValueError), with what it is and what was expected, for another type or
// shape.
AnyArray checked_as(const char* name, const AnyArray& array, nanobind::dlpack::dtype type,
                    const std::vector<int64_t>& shape);

// The elements of an array; they live as long as `array` does.
template <class T>
struct Checked {
    AnyArray array;

    const T* data() const { return static_cast<const T*>(array.data()); }
    int64_t size() const { return static_cast<int64_t>(array.size()); }
    int64_t shape(size_t axis) const { return static_cast<int64_t>(array.shape(axis)); }
    const T* begin() const { return data(); }
    const T* end() const { return data() + size(); }
};

// An argument, called `name` in errors, that has to be of a type and shape. See `checked_as`.
template <class T>
Checked<T> checked(const char* name, const AnyArray& array, const std::vector<int64_t>& shape) {
    return {checked_as(name, array, nanobind::dtype<T>(), shape)};
}

// A new array, not initialized, that Python owns once it is returned.
template <class T>
class NewArray {
  public:
    explicit NewArray(std::initializer_list<int64_t> shape) : shape_(shape.begin(), shape.end()) {
        size_t size = 1;
        for (const size_t n : shape_) size *= n;
        memory_.reset(new T[std::max<size_t>(size, 1)]);
    }

    T* data() { return memory_.get(); }

    // Hands the memory over.
    nanobind::ndarray<nanobind::numpy, T> release() {
        T* data = memory_.get();
        nanobind::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
        memory_.release();
        return nanobind::ndarray<nanobind::numpy, T>(data, shape_.size(), shape_.data(), owner);
    }

  private:
    std::vector<size_t> shape_;
    std::unique_ptr<T[]> memory_;
};

}  // namespace qecpipe::bindings
