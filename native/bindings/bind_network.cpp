#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/interpreter_lock.h"
#include "core/cpu.h"
#include "network/engine.h"
#include "network/stencil_gradient.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

using network::Biases;
using network::DenseTables;
using network::Engine;
using network::FloatTables;
using network::kDetectors;
using network::kLogits;
using network::kMoves;
using network::kTaps;
using network::LayerStream;
using network::Network;
using network::Patch;
using network::QuantizedTables;
using network::Sizes;
using network::Timeline;

// Reads the tables of a network from a dictionary, checked. They live as long as the reader.
class Reader {
  public:
    explicit Reader(const nb::dict& tables) : tables_(tables) {}

    AnyArray array(const char* name, size_t axes) const {
        if (!tables_.contains(name))
            throw std::invalid_argument("there is no table \"" + std::string(name) + "\"");
        const AnyArray array = nb::cast<AnyArray>(tables_[name]);
        if (array.ndim() == axes) return array;
        throw std::invalid_argument(std::string(name) + " has " + std::to_string(array.ndim()) +
                                    " axes, not " + std::to_string(axes));
    }

    template <class T>
    void operator()(const T*& table, const char* name, const std::vector<int64_t>& shape) {
        kept_.push_back(checked<T>(name, array(name, shape.size()), shape).array);
        table = static_cast<const T*>(kept_.back().data());
    }

    // Of a network with biases [first_layers][I][J][C] of its first layer.
    static Sizes sizes(const AnyArray& first_layer_bias, size_t blocks, size_t positions) {
        if (!first_layer_bias.size() || !blocks || !positions)
            throw std::invalid_argument(
                "a network has channels, blocks, cells and biases: one of these is none");
        const auto size = [&](size_t axis) { return static_cast<int>(first_layer_bias.shape(axis)); };
        return {{size(1), size(2)}, size(3), static_cast<int>(blocks), size(0), static_cast<int>(positions)};
    }

  private:
    const nb::dict& tables_;
    std::vector<AnyArray> kept_;
};

// The tables that networks of all arithmetics have.
template <class Tables>
void read_common(Reader& read, Tables& t) {
    const AnyArray first = read.array("first_layer_bias", 4), position = read.array("position_bias", 5);
    t.sizes = read.sizes(first, position.shape(0), position.shape(1));
    const Sizes& s = t.sizes;
    read(t.embed, "embed", {kDetectors, kTaps, s.channels});
    read(t.first_layer_bias, "first_layer_bias", {s.first_layers, s.patch.rows, s.patch.columns, s.channels});
    read(t.depthwise, "depthwise", {s.blocks, s.channels, kTaps});
    read(t.position_bias, "position_bias",
         {s.blocks, s.positions, s.patch.rows, s.patch.columns, s.channels});
    read(t.pointwise, "pointwise", {s.blocks, s.channels, s.channels});
    read(t.pointwise_bias, "pointwise_bias", {s.blocks, s.channels});
    read(t.head, "head", {kMoves, s.channels});
    read(t.head_bias, "head_bias", {kMoves});
}

std::shared_ptr<const Network> make_float32(const nb::dict& tables, std::string_view instruction_set) {
    Reader read(tables);
    FloatTables t{};
    read_common(read, t);
    return network::make_network(t, cpu::choose(instruction_set));
}

std::shared_ptr<const Network> make_int8(const nb::dict& tables, std::string_view instruction_set) {
    Reader read(tables);
    QuantizedTables t{};
    read_common(read, t);
    read(t.gain, "gain", {t.sizes.blocks, t.sizes.channels});
    read(t.pointwise_gain, "pointwise_gain", {t.sizes.blocks, t.sizes.channels});
    read(t.head_scale, "head_scale", {kMoves});
    return network::make_network(t, cpu::choose(instruction_set));
}

std::shared_ptr<const Network> make_dense_int8(const nb::dict& tables, std::string_view instruction_set) {
    Reader read(tables);
    DenseTables t{};
    const AnyArray first = read.array("first_layer_bias", 4), gain = read.array("input_gain", 2);
    t.sizes = read.sizes(first, gain.shape(0), 1);
    const Sizes& s = t.sizes;
    read(t.unit_bits, "unit_bits", {1 + s.blocks});
    read(t.used, "used", {s.blocks, 2});
    read(t.embed, "embed", {kDetectors, kTaps, s.channels});
    read(t.first_layer_bias, "first_layer_bias", {s.first_layers, s.patch.rows, s.patch.columns, s.channels});
    read(t.input_gain, "input_gain", {s.blocks, s.channels});
    read(t.input_zero, "input_zero", {s.blocks, s.channels});
    read(t.spatial, "spatial", {s.blocks, s.channels, kTaps, s.channels});
    read(t.spatial_scale, "spatial_scale", {s.blocks, s.channels});
    read(t.spatial_bias, "spatial_bias", {s.blocks, s.channels});
    read(t.pointwise, "pointwise", {s.blocks, s.channels, s.channels});
    read(t.pointwise_scale, "pointwise_scale", {s.blocks, s.channels});
    read(t.pointwise_bias, "pointwise_bias", {s.blocks, s.channels});
    read(t.head, "head", {kMoves, kTaps, s.channels});
    read(t.head_scale, "head_scale", {kMoves});
    read(t.head_bias, "head_bias", {kMoves});
    return network::make_network(t, cpu::choose(instruction_set));
}

std::shared_ptr<const Timeline> make_timeline(const nb::dict& tables, int64_t repeats_from, int64_t period,
                                              int64_t tail, int64_t ahead) {
    std::map<int64_t, std::vector<Biases>> biases;
    for (const auto& [layers, table] : tables) {
        const auto kinds = checked<int32_t>("biases", nb::cast<AnyArray>(table), {kAny, 2});
        auto& of = biases[nb::cast<int64_t>(layers)];
        for (int64_t t = 0; t < kinds.shape(0); ++t)
            of.push_back({kinds.data()[2 * t], kinds.data()[2 * t + 1]});
    }
    return std::make_shared<const Timeline>(std::move(biases), repeats_from, period, tail, ahead);
}

nb::ndarray<nb::numpy, float> run(const Engine& self, const AnyArray& packed) {
    const auto rows = checked<uint8_t>("packed", packed, {kAny, self.row_bytes()});
    NewArray<float> logits({rows.shape(0), self.num_moves()});
    {
        InterpreterReleased released;
        self.run(rows.data(), rows.shape(0), logits.data());
    }
    return logits.release();
}

// Logits [layers][I][J][kLogits] as grids of ancillas [3][layers][2 I][2 J].
nb::ndarray<nb::numpy, float> unfolded(const Patch& patch, const std::vector<float>& logits, int64_t layers) {
    NewArray<float> grid({3, layers, 2 * patch.rows, 2 * patch.columns});
    float* to = grid.data();
    for (int kind = 0; kind < 3; ++kind)
        for (int64_t layer = 0; layer < layers; ++layer)
            for (int row = 0; row < 2 * patch.rows; ++row)
                for (int column = 0; column < 2 * patch.columns; ++column)
                    *to++ =
                        logits[layer * patch.cells() * kLogits + network::logit_of(patch, kind, row, column)];
    return grid.release();
}

nb::ndarray<nb::numpy, float> push(LayerStream& self, const AnyArray& detections, bool last) {
    const Patch patch = self.patch();
    const auto grid = checked<uint8_t>("detections", detections, {2 * patch.rows, 2 * patch.columns});
    std::vector<network::Detections> layer(patch.layer_words());
    for (int row = 0; row < 2 * patch.rows; ++row)
        for (int column = 0; column < 2 * patch.columns; ++column) {
            if (!grid.data()[row * 2 * patch.columns + column]) continue;
            const int64_t bit = network::detection_of(patch, row, column);
            layer[bit / 64] |= network::Detections{1} << bit % 64;
        }
    std::vector<float> logits((last ? self.delay() + 1 : 1) * self.layer_size());
    int64_t layers = 0;
    {
        InterpreterReleased released;
        layers = self.push(layer.data(), last, logits.data());
    }
    return unfolded(patch, logits, layers);
}

void bind_networks(nb::module_& module) {
    nb::class_<Network>(module, "Network", "A network with its biases on a patch, in an arithmetic.")
        .def_static("float32", &make_float32, "tables"_a, nb::kw_only(), "instruction_set"_a = "",
                    "Copies `tables`, whose names, types and shapes are in native/network/tables.h. "
                    "`instruction_set` is one of `instruction_sets()`, by default the last.")
        .def_static("int8", &make_int8, "tables"_a, nb::kw_only(), "instruction_set"_a = "",
                    "The same of a quantized network.")
        .def_static("dense_int8", &make_dense_int8, "tables"_a, nb::kw_only(), "instruction_set"_a = "",
                    "The same of a quantized dense network.")
        .def_prop_ro("instruction_set",
                     [](const Network& self) { return std::string(cpu::name(self.variant())); })
        .def_prop_ro("delay", &Network::delay, "Layers that come after a layer before its logits are known.");
    nb::class_<Timeline>(module, "Timeline", "Which of a network's biases the layers of experiments have.")
        .def(nb::new_(&make_timeline), "tables"_a, nb::kw_only(), "repeats_from"_a = 0, "period"_a = 0,
             "tail"_a = 0, "ahead"_a = 0,
             "`tables`: by an experiment's number of layers, int32 (T, 2) of its layers, T even; the rest is "
             "in "
             "native/network/timeline.h.");
}

void bind_engines(nb::module_& module) {
    nb::class_<Engine>(module, "Engine", "A network on whole shots of one layout.")
        .def(
            "__init__",
            [](Engine* self, std::shared_ptr<const Network> network, std::shared_ptr<const Timeline> timeline,
               int64_t layers, const AnyArray& places, const AnyArray& moves) {
                const auto detectors = checked<int64_t>("places", places, {kAny});
                const auto targets = checked<int64_t>("moves", moves, {kAny});
                new (self) Engine(std::move(network), std::move(timeline), layers,
                                  {detectors.data(), static_cast<size_t>(detectors.size())},
                                  {targets.data(), static_cast<size_t>(targets.size())});
            },
            "network"_a, "timeline"_a, nb::kw_only(), "layers"_a, "places"_a, "moves"_a,
            "`layers` with detectors; `places` int64 (D,) in the grid (T, 2 I, 2 J), `moves` int64 (M,) in "
            "(3, T, 2 I, 2 J).")
        .def("run", &run, "packed"_a,
             "Logits float32 (B, M) of detections uint8 (B, ceil(D / 8)), LSB first; threads may call at "
             "once.");
    nb::class_<LayerStream>(module, "LayerStream", "A network on experiments that come layer by layer.")
        .def(nb::init<std::shared_ptr<const Network>, std::shared_ptr<const Timeline>>(), "network"_a,
             "timeline"_a)
        .def_prop_ro("delay", &LayerStream::delay,
                     "Layers that come after a layer, at most, before its logits.")
        .def_prop_ro("layer_size", &LayerStream::layer_size, "Floats of a layer's logits in C++.")
        .def("start", &LayerStream::start, "Begins another experiment.")
        .def("push", &push, "detections"_a, nb::kw_only(), "last"_a = false,
             "Takes the next layer, uint8 0/1 (2 I, 2 J); logits of the layers that are known now, in order: "
             "float32 "
             "(3, layers, 2 I, 2 J).");
}

nb::ndarray<nb::numpy, float> gradient_to_stencils(const AnyArray& x, const AnyArray& gradient,
                                                   std::string_view instruction_set) {
    const auto x_BtijC = checked<float>("x", x, {kAny, kAny, kAny, kAny, kAny});
    const int64_t channels = x_BtijC.shape(4);
    if (channels % network::kGradientLanes) {
        throw std::invalid_argument(std::to_string(channels) + " channels are not a multiple of " +
                                    std::to_string(network::kGradientLanes));
    }
    std::vector<int64_t> shape;
    for (size_t k = 0; k < 5; k++) shape.push_back(x_BtijC.shape(k));
    const auto gradient_BtijC = checked<float>("gradient", gradient, shape);
    const auto compute = network::stencil_gradient(cpu::choose(instruction_set));
    NewArray<float> result({kTaps, channels});
    {
        InterpreterReleased released;
        compute(x_BtijC.data(), gradient_BtijC.data(), shape[0], shape[1], shape[2], shape[3], channels,
                result.data());
    }
    return result.release();
}

}  // namespace

void bind_network(nb::module_& module) {
    bind_networks(module);
    bind_engines(module);
    module.def("gradient_to_stencils", &gradient_to_stencils, "x"_a, "gradient"_a, nb::kw_only(),
               "instruction_set"_a = "",
               "Gradient to the weights of a depthwise 3 x 3 x 3 convolution, float32 (27, C), in one "
               "thread. `x`: its "
               "input, `gradient`: to its output, both float32 (B, t, i, j, C), C a multiple of 8.");
}

}  // namespace qecpipe::bindings
