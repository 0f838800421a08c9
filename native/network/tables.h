// A network's numbers as they come from Python, in their natural order; not owned.
#pragma once

#include <cstdint>

namespace qecpipe::network {

constexpr int kMoves = 12;     // of a cell
constexpr int kLogits = 16;    // floats from one cell's logits to the next
constexpr int kDetectors = 4;  // of a cell
constexpr int kTaps = 27;      // of a 3 x 3 x 3 stencil
constexpr int kChunk =
    32;  // CHUNK of quantized_tables.py: inputs whose products are added up without saturation

// Cells of a layer.
struct Patch {
    int rows, columns;

    int cells() const { return rows * columns; }
    // 64-bit words of a row's detections of one kind.
    int words() const { return (columns + 63) / 64; }
    // Words of a layer's detections.
    int layer_words() const { return rows * 4 * words(); }
};

// Sizes of a network and of its biases on a patch.
struct Sizes {
    Patch patch;
    int channels, blocks, first_layers, positions;  // the last two: kinds of biases that `Timeline` counts
};

// The separable network in integers. Sums wrap nowhere: whoever makes the tables (quantized_tables.py) scales
// them so that a stencil's absolute weights, and the weights of either sign of kChunk inputs, cannot leave 16
// bits whatever the activations; all other sums saturate.
struct QuantizedTables {
    Sizes sizes;
    const int16_t* embed;             // [4][27][C]
    const int16_t* first_layer_bias;  // [first_layers][I][J][C]: bias, presence and noise
    const int16_t* depthwise;         // [blocks][C][27]
    const int16_t* position_bias;     // [blocks][positions][I][J][C]: biases and the patch embedding
    const int16_t* gain;              // [blocks][C]: of hidden activations
    const int8_t* pointwise;          // [blocks][o][C]
    const int16_t* pointwise_gain;    // [blocks][o]
    const int16_t* pointwise_bias;    // [blocks][o]
    const int16_t* head;              // [12][C]
    const float* head_scale;          // [12]
    const int32_t* head_bias;         // [12]
};

// The dense network in integers: activations between convolutions have 16 bits, in units of a power of two;
// a block's 3 x 3 x 3 convolution gets them in 8, with a unit and a zero of their own for every channel. Sums
// of products have 32 bits, which whoever makes the tables (dense_tables.py) sees to that none can leave,
// whatever the activations; all else saturates.
struct DenseTables {
    Sizes sizes;               // positions: 1
    const int32_t* unit_bits;  // [1 + blocks]: the stream's unit, and hidden ones', are 2^-bits; 5 to 11
    const int32_t* used;       // [blocks][2]: channels in, and hidden ones, that are not 0: the first
    const int16_t* embed;      // [4][27][C]
    const int16_t* first_layer_bias;  // [first_layers][I][J][C]: bias, presence and noise
    const int16_t* input_gain;        // [blocks][C]: of the stream, for the 3 x 3 x 3 convolution
    const int16_t* input_zero;        // [blocks][C]: what stands for 0, 0 to 255
    const int8_t* spatial;            // [blocks][o][27][C]
    const float* spatial_scale;       // [blocks][o]: from sums to hidden units
    const int32_t* spatial_bias;      // [blocks][o]
    const int16_t* pointwise;         // [blocks][o][C]
    const float* pointwise_scale;     // [blocks][o]: from sums to the stream's unit
    const int32_t* pointwise_bias;    // [blocks][o]
    const int16_t* head;              // [12][27][C]
    const float* head_scale;          // [12]
    const int32_t* head_bias;         // [12]
};

// The separable network in float32.
struct FloatTables {
    Sizes sizes;
    const float* embed;             // [4][27][C]
    const float* first_layer_bias;  // [first_layers][I][J][C]
    const float* depthwise;         // [blocks][C][27]
    const float* position_bias;     // [blocks][positions][I][J][C]
    const float* pointwise;         // [blocks][o][C]
    const float* pointwise_bias;    // [blocks][o]
    const float* head;              // [12][C]
    const float* head_bias;         // [12]
};

}  // namespace qecpipe::network
