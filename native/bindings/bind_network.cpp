#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "core/cpu.h"
#include "network/batch.h"
#include "network/stencil_gradient.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace qecpipe::bindings {

namespace {

using network::batch::Engine;
using network::batch::FloatTables;
using network::batch::IntegerTables;
using network::batch::kDetectors;
using network::batch::kMoves;
using network::batch::kTaps;
using network::batch::Sizes;
using network::batch::Storage;

// Reads the tables of a network from a dictionary, checked and copied.
class Reader {
  public:
    Reader(const nb::dict& tables, Storage& storage) : tables_(tables), storage_(storage) {}

    AnyArray array(const char* name) const {
        if (!tables_.contains(name)) throw std::invalid_argument("there is no table \"" + std::string(name) + "\"");
        return nb::cast<AnyArray>(tables_[name]);
    }

    template <class T>
    void operator()(const T*& table, const char* name, const std::vector<int64_t>& shape) const {
        const auto values = checked<T>(name, array(name), shape);
        table = storage_.keep(values.data(), values.size());
    }

  private:
    const nb::dict& tables_;
    Storage& storage_;
};

Sizes read_sizes(const Reader& read, int32_t channels, int64_t detectors, int64_t moves) {
    Sizes sizes{};
    const AnyArray source = read.array("source"), bias = read.array("position_bias");
    if (source.ndim() != 4 || bias.ndim() != 5) throw std::invalid_argument("source has 4 axes, position_bias 5");
    sizes.channels = channels, sizes.moves = moves, sizes.detectors = detectors;
    sizes.blocks = static_cast<int32_t>(bias.shape(0)), sizes.kinds = static_cast<int32_t>(bias.shape(1));
    sizes.layers = static_cast<int32_t>(source.shape(0)), sizes.rows = static_cast<int32_t>(source.shape(1));
    sizes.columns = static_cast<int32_t>(source.shape(3));
    read(sizes.kind, "kind", {sizes.layers});
    read(sizes.source, "source", {sizes.layers, sizes.rows, kDetectors, sizes.columns});
    read(sizes.targets, "targets", {sizes.layers, sizes.rows, kMoves, sizes.columns});
    return sizes;
}

void require_channels(int32_t channels, int32_t multiple) {
    if (channels <= 0 || channels % multiple) {
        throw std::invalid_argument("channels: " + std::to_string(channels) + " is not a multiple of " +
                                    std::to_string(multiple));
    }
}

void make_float32(Engine<FloatTables>* self, const nb::dict& tables, int32_t channels, int64_t num_detectors,
                  int64_t num_moves, std::string_view instruction_set) {
    require_channels(channels, 8);
    Storage storage;
    const Reader read(tables, storage);
    FloatTables t{};
    t.sizes = read_sizes(read, channels, num_detectors, num_moves);
    const Sizes& s = t.sizes;
    read(t.embed, "embed", {kDetectors, kTaps, channels});
    read(t.first_layer_bias, "first_layer_bias", {s.layers, s.rows, s.columns, channels});
    read(t.depthwise, "depthwise", {s.blocks, channels, kTaps});
    read(t.position_bias, "position_bias", {s.blocks, s.kinds, s.rows, channels, s.columns});
    read(t.pointwise, "pointwise", {s.blocks, channels / 4, channels, 4});
    read(t.pointwise_bias, "pointwise_bias", {s.blocks, channels});
    read(t.head, "head", {kMoves / 4, channels, 4});
    read(t.head_bias, "head_bias", {kMoves});
    new (self) Engine<FloatTables>(t, std::move(storage), cpu::choose(instruction_set));
}

void make_int8(Engine<IntegerTables>* self, const nb::dict& tables, int32_t channels, int64_t num_detectors,
               int64_t num_moves, std::string_view instruction_set) {
    require_channels(channels, 16);
    Storage storage;
    const Reader read(tables, storage);
    IntegerTables t{};
    t.sizes = read_sizes(read, channels, num_detectors, num_moves);
    const Sizes& s = t.sizes;
    read(t.embed, "embed", {kDetectors, kTaps, channels});
    read(t.first_layer_bias, "first_layer_bias", {s.layers, s.rows, s.columns, channels});
    read(t.depthwise, "depthwise", {s.blocks, channels, kTaps});
    read(t.position_bias, "position_bias", {s.blocks, s.kinds, s.rows, channels, s.columns});
    read(t.gain, "gain", {s.blocks, channels});
    read(t.pointwise, "pointwise", {s.blocks, channels / 4, channels / 2, 4});
    read(t.pointwise_gain, "pointwise_gain", {s.blocks, channels});
    read(t.pointwise_bias, "pointwise_bias", {s.blocks, channels});
    read(t.head, "head", {2, channels / 2, kMoves / 2});
    read(t.head_scale, "head_scale", {kMoves});
    read(t.head_bias, "head_bias", {kMoves});
    new (self) Engine<IntegerTables>(t, std::move(storage), cpu::choose(instruction_set));
}

template <class Tables>
nb::ndarray<nb::numpy, float> run(const Engine<Tables>& self, const AnyArray& packed) {
    const auto rows = checked<uint8_t>("packed", packed, {kAny, self.row_bytes()});
    NewArray<float> logits({rows.shape(0), self.sizes().moves});
    {
        nb::gil_scoped_release released;
        self.run(rows.data(), rows.shape(0), logits.data());
    }
    return logits.release();
}

template <class Tables, class Make>
void bind_engine(nb::module_& module, const char* name, const char* doc, Make make) {
    using Self = Engine<Tables>;
    nb::class_<Self>(module, name, doc)
        .def("__init__", make, "tables"_a, nb::kw_only(), "channels"_a, "num_detectors"_a, "num_moves"_a,
             "instruction_set"_a = "",
             "Copies `tables`, whose names, types and shapes are in native/network/batch.h. `instruction_set` is one "
             "of `instruction_sets()`, by default the last.")
        .def("run", &run<Tables>, "packed"_a,
             "Logits float32 (B, M) of detections uint8 (B, ceil(D / 8)), LSB first; threads may call at once.")
        .def_prop_ro("instruction_set", [](const Self& self) { return std::string(cpu::name(self.variant())); })
        .def_prop_ro("scratch_bytes", &Self::scratch_bytes, "Memory of every thread that runs it.");
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
        nb::gil_scoped_release released;
        compute(x_BtijC.data(), gradient_BtijC.data(), shape[0], shape[1], shape[2], shape[3], channels, result.data());
    }
    return result.release();
}

}  // namespace

void bind_network(nb::module_& module) {
    bind_engine<FloatTables>(module, "Float32Batch", "A separable network in float32, eight shots side by side.",
                             &make_float32);
    bind_engine<IntegerTables>(module, "Int8Batch", "A quantized network in int8, sixteen shots side by side.",
                               &make_int8);
    module.def("gradient_to_stencils", &gradient_to_stencils, "x"_a, "gradient"_a, nb::kw_only(),
               "instruction_set"_a = "",
               "Gradient to the weights of a depthwise 3 x 3 x 3 convolution, float32 (27, C), in one thread. `x`: its "
               "input, `gradient`: to its output, both float32 (B, t, i, j, C), C a multiple of 8.");
}

}  // namespace qecpipe::bindings
