// Separable networks on batches: shots in the lanes of vectors, so that a weight is a broadcast and one shot takes
// as long as a whole vector of them.
//
// Shape legend: T layers, I rows and J columns of cells of 2 x 2 ancillas, C channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/cpu.h"

namespace qecpipe::network::batch {

constexpr int kMoves = 12;     // of a cell
constexpr int kDetectors = 4;  // of a cell
constexpr int kTaps = 27;

// Sizes and tables that all arithmetics have.
struct Sizes {
    int32_t channels, blocks, layers, rows, columns, kinds;
    const int32_t* kind;     // [T]: of every layer
    const int32_t* source;   // [T][I][4][J]: detector or -1
    const int32_t* targets;  // [T][I][12][J]: column of the logits or -1
    int64_t moves;           // columns of the logits
    int64_t detectors;
};

struct FloatTables {
    Sizes sizes;
    const float* embed;             // [4][27][C]
    const float* first_layer_bias;  // [T][I][J][C]: bias, presence and noise
    const float* depthwise;         // [blocks][C][27]
    const float* position_bias;     // [blocks][kinds][I][C][J]: biases and the patch embedding, for every kind of layer
    const float* pointwise;         // [blocks][C / 4][C][4]
    const float* pointwise_bias;    // [blocks][C]
    const float* head;              // [3][C][4]
    const float* head_bias;         // [12]
};

struct IntegerTables {
    Sizes sizes;
    const int16_t* embed;             // [4][27][C]
    const int16_t* first_layer_bias;  // [T][I][J][C]: bias, presence and noise
    const int16_t* depthwise;         // [blocks][C][27]
    const int16_t* position_bias;     // [blocks][kinds][I][C][J]: biases and the patch embedding, for every kind of layer
    const int16_t* gain;              // [blocks][C]: of hidden activations
    const int32_t* pointwise;         // [blocks][C / 4][C / 2][4]: two weights of 8 bits, twice
    const int16_t* pointwise_gain;    // [blocks][C]
    const int16_t* pointwise_bias;    // [blocks][C]
    const int32_t* head;              // [2][C / 2][6]: two weights of 16 bits
    const float* head_scale;          // [12]
    const int32_t* head_bias;         // [12]
};

// What an instruction set has for an arithmetic.
template <class Tables>
struct Kernel {
    int64_t (*scratch)(const Tables& tables);  // bytes
    // packed: [shots][row_bytes], LSB first; logits: [shots][moves]; memory: 64-byte aligned, `scratch` bytes.
    void (*run)(const Tables& tables, const uint8_t* packed, int64_t row_bytes, int64_t shots, float* logits,
                void* memory);
};

// Copies of tables, for as long as it lives.
class Storage {
  public:
    Storage() = default;
    Storage(Storage&&) = default;

    template <class T>
    const T* keep(const T* data, int64_t count) {
        const size_t bytes = static_cast<size_t>(count) * sizeof(T);
        parts_.emplace_back(new std::byte[bytes + 1]);
        std::memcpy(parts_.back().get(), data, bytes);
        return reinterpret_cast<const T*>(parts_.back().get());
    }

  private:
    std::vector<std::unique_ptr<std::byte[]>> parts_;
};

// A network of FloatTables or IntegerTables on whole shots. Threads may share one.
template <class Tables>
class Engine {
  public:
    // `tables` points into `storage`. Throws std::invalid_argument for a kind, a detector or a move that is none.
    Engine(const Tables& tables, Storage storage, cpu::Variant variant);

    cpu::Variant variant() const { return variant_; }
    const Sizes& sizes() const { return tables_.sizes; }
    int64_t row_bytes() const { return (tables_.sizes.detectors + 7) / 8; }
    // Of a thread that runs it.
    int64_t scratch_bytes() const { return kernel_.scratch(tables_); }

    // packed: [shots][row_bytes()], LSB first; logits: [shots][moves].
    void run(const uint8_t* packed, int64_t shots, float* logits) const;

  private:
    Tables tables_;
    Storage storage_;
    cpu::Variant variant_;
    Kernel<Tables> kernel_;
};

extern template class Engine<FloatTables>;
extern template class Engine<IntegerTables>;

}  // namespace qecpipe::network::batch
