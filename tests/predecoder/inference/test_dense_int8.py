"""The dense network in integers: the arithmetic that its source promises, on any machine, near float32."""

import itertools

import numpy as np
import pytest
import torch

import _qecpipe
from global_decoders.windows import LayeredDem
from predecoder import StreamPredecoder, load_bundle
from predecoder.correction import stream_network
from predecoder.inference import (
    DenseTables,
    EngineOptions,
    LayerInputs,
    NativeEngine,
    QuantizationError,
    TorchEngine,
    make_engine,
    measure_ranges,
)
from predecoder.inference.table_layout import cells
from predecoder.network import DenseConfig, make_network

CPU = torch.device("cpu")
GELU = (-2589, 1907, 7619, -10657, 645, 7263, -5674, 1483)


def _shots(model, shots: int, *, seed: int = 1) -> np.ndarray:
    return model.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)[0]


def _random_bits(model, shots: int) -> np.ndarray:
    width = -(-model.layout.num_detectors // 8)
    return np.random.default_rng(1).integers(0, 256, (shots, width), dtype=np.uint8)


def _native(model, network, instruction_set: str = "") -> NativeEngine:
    return NativeEngine(model.problem, network, precision="int8", instruction_set=instruction_set)


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _scaled(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    return (a * b + 2**14) >> 15


def _gelu(x: np.ndarray, bits: int) -> np.ndarray:
    size = np.minimum(_saturated(np.abs(x)), (4 << bits) - 1)
    y = (size - (2 << bits)) << (14 - bits)
    q = np.full_like(x, GELU[0])
    for coefficient in GELU[1:]:
        q = _scaled(q, y) + coefficient
        assert np.abs(q).max() < 2**15
    return _saturated(np.maximum(x, 0) - _scaled(q, 1 << bits))


def _of_words(sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    assert np.abs(sums).max() < 2**31
    return _saturated(np.rint(sums.astype(np.float32) * scale)).astype(np.int64)


def _around(x: np.ndarray, tap: int, outside: np.ndarray | int = 0) -> np.ndarray:
    """Of every cell of (B, T, I, J, C), the one that a tap sees; `outside` beyond the edge."""
    _, layers, rows, columns, _ = x.shape
    padded = np.empty((len(x), layers + 2, rows + 2, columns + 2, x.shape[-1]), dtype=x.dtype)
    padded[...] = outside
    padded[:, 1:-1, 1:-1, 1:-1] = x
    dt, di, dj = tap // 9, tap // 3 % 3, tap % 3
    return padded[:, dt : dt + layers, di : di + rows, dj : dj + columns]


class _Wide:
    """The network once more, on arrays (B, T, I, J, C) of 64 bits that cannot overflow: nothing else may."""

    def __init__(self, model, network) -> None:
        inputs = LayerInputs.of_problem(model.problem, noise_conditioned=network.config.noise_conditioned)
        tables = DenseTables(network, [inputs])
        self.tables = {
            name: table if table.dtype == np.float32 else table.astype(np.int64)
            for name, table in tables.arrays.items()
        }
        self.first_layer = tables.timelines[0][:, 0]
        self.layout, self.moves = model.layout, model.moves

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        t = self.tables
        detections = np.unpackbits(packed, axis=1, count=self.layout.num_detectors, bitorder="little")
        grid = cells(self.layout.detector_grid)
        fired = np.where(grid >= 0, detections[:, grid], 0).transpose(0, 1, 3, 4, 2).astype(np.int64)
        bias = t["first_layer_bias"][self.first_layer]
        x = np.broadcast_to(bias, (len(packed), *bias.shape))
        for row, detector, dj in itertools.product(range(9), range(4), range(3)):
            seen = _around(fired[..., detector : detector + 1], 3 * row + dj)
            x = _saturated(x + seen * t["embed"][detector, 3 * row + dj])
        bits = [int(b) for b in t["unit_bits"]]
        x = _gelu(x, bits[0])
        for block in range(len(t["spatial"])):
            gain, zero = t["input_gain"][block], t["input_zero"][block]
            u = np.clip(_saturated(_scaled(x, gain) + zero), 0, 255)
            sums = np.zeros_like(x) + t["spatial_bias"][block]
            for tap in range(27):
                sums += (_around(u, tap, outside=zero) - zero) @ t["spatial"][block][:, tap].T
            hidden = _gelu(_of_words(sums, t["spatial_scale"][block]), bits[1 + block])
            sums = hidden @ t["pointwise"][block].T + t["pointwise_bias"][block]
            x = _saturated(x + _of_words(sums, t["pointwise_scale"][block]))
        sums = np.zeros((*x.shape[:-1], 12), dtype=np.int64) + t["head_bias"]
        for tap in range(27):
            sums += _around(x, tap) @ t["head"][:, tap].T
        assert np.abs(sums).max() < 2**31
        logits = sums.astype(np.float32) * t["head_scale"]
        kind, layer, i, j = np.unravel_index(self.moves.positions, self.layout.move_mask.shape)
        return logits[:, layer, i // 2, j // 2, 4 * kind + 2 * (i % 2) + j % 2]


@pytest.mark.parametrize(
    ("distance", "rounds", "basis", "orientation", "shots", "channels", "blocks"),
    [
        (3, 2, "x", "XV", 1, 48, 2),
        (3, 7, "z", "ZH", 9, 16, 3),
        (5, 3, "x", "ZV", 3, 64, 1),
        (7, 4, "z", "XH", 2, 40, 2),
        ((3, 6), 5, "z", "XV", 20, 24, 2),
        ((5, 3), 3, "x", "ZH", 2, 7, 1),
        ((3, 17), 2, "x", "XV", 1, 16, 1),
    ],
)
def test_every_bit_is_that_of_the_arithmetic(
    model, calibrated_network, distance, rounds, basis, orientation, shots, channels, blocks
):
    m = model(distance, rounds, basis, orientation)
    network = calibrated_network(rounds, channels=channels, blocks=blocks)
    packed = np.concatenate([_shots(m, shots), _random_bits(m, 1)])
    expected = _Wide(m, network)(packed)
    assert expected.std() > 0.1
    for name in _qecpipe.instruction_sets():
        engine = _native(m, network, name)
        assert np.array_equal(engine(packed), expected)
        assert np.array_equal(np.concatenate([engine(shot[None]) for shot in packed]), expected)


@pytest.mark.parametrize("factor", [0.02, 30.0])
def test_nothing_wraps_far_outside_the_calibrated_ranges(model, calibrated_network, factor):
    """Shots of random bits, through a network calibrated for activations that are much smaller or larger."""
    m, network = model(5, 3), calibrated_network(3)
    for table in network.ranges.tables().values():
        table *= factor
    packed = _random_bits(m, 8)
    expected = _Wide(m, network)(packed)
    for name in _qecpipe.instruction_sets():
        assert np.array_equal(_native(m, network, name)(packed), expected)


@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_logits_are_near_those_in_float32(model, calibrated_network, noise_conditioned):
    m, network = model(5, 4, "z", "ZH"), calibrated_network(4, noise_conditioned=noise_conditioned)
    packed = _shots(m, 50)
    network.ranges = measure_ranges(network, [(m.problem, _shots(m, 100, seed=2))])
    exact = TorchEngine(m.problem, network, device=CPU)(packed)
    got = _native(m, network)(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.05 * exact.std()


@pytest.mark.parametrize("weights", ["accurate", "accurate-matching"])
def test_shipped_weights_run_in_int8_where_it_is_asked_for(model, weights):
    m, network = model(5, 4, "z", "XV"), load_bundle(weights).network
    assert network.int8 == "available"
    packed = _shots(m, 12)
    exact = make_engine(m.problem, network, EngineOptions(CPU))
    assert exact.precision == "float32"
    logits = exact(packed)
    engine = make_engine(m.problem, network, EngineOptions(CPU, precision="int8"))
    assert isinstance(engine, NativeEngine)
    got = engine(packed)
    assert np.sqrt(np.mean((got - logits) ** 2)) < 0.05 * logits.std()
    assert np.array_equal(got[:2], _Wide(m, network)(packed[:2]))


def test_a_stream_gives_the_bits_of_the_whole_shot(model, calibrated_network):
    m, network = model(3, 6, "x", "ZV"), calibrated_network(1, noise_conditioned=True)
    packed = _shots(m, 1)
    layers = LayeredDem.from_dem(m.problem.dem.flattened())
    streamed = stream_network(m.problem, network, layers=layers, precision="int8").begin()
    grid = np.zeros(m.layout.shape, dtype=np.uint8)
    grid.ravel()[m.layout.flat_voxels] = np.unpackbits(
        packed[0], count=m.layout.num_detectors, bitorder="little"
    )
    streamed.start()
    parts = [streamed.push(grid[t], last=t == m.layout.layers - 1) for t in range(m.layout.layers)]
    logits = np.zeros(m.layout.move_mask.shape, dtype=np.float32)
    found = np.concatenate(parts, axis=1)
    logits[:, : found.shape[1]] = found
    assert np.array_equal(logits.ravel()[m.moves.positions], _native(m, network)(packed)[0])


def test_a_hidden_channel_that_never_moves_is_left_out(model, calibrated_network):
    m, network = model(3, 3), calibrated_network(1, channels=32)
    with torch.no_grad():
        for dead in range(0, 32, 2):
            network.trunk[0].spatial.bias[dead] = -40
    network.ranges.hidden_high[0, ::2] = network.ranges.hidden_low[0, ::2] = 0
    tables = DenseTables(network, [LayerInputs.of_problem(m.problem, noise_conditioned=False)])
    assert tables.arrays["used"].tolist() == [[32, 16], [32, 32]]
    packed = _shots(m, 20)
    exact = TorchEngine(m.problem, network, device=CPU)(packed)
    for name in _qecpipe.instruction_sets():
        got = _native(m, network, name)(packed)
        assert np.array_equal(got, _Wide(m, network)(packed))
        assert np.sqrt(np.mean((got - exact) ** 2)) < 0.05 * exact.std()


def test_what_int8_cannot_run_is_refused_and_float32_is_there(model, calibrated_network):
    m = model()
    for config in (DenseConfig(8, 1, time_fold=1), DenseConfig(8, 1, time_fold=2)):
        network = make_network(config)
        with pytest.raises(ValueError, match="a dense one with ranges, which qecpipe calibrate measures"):
            make_engine(m.problem, network, EngineOptions(CPU, precision="int8"))
        assert make_engine(m.problem, network, EngineOptions(CPU)).precision == "float32"
    network = calibrated_network(2)
    with torch.no_grad():
        network.trunk[1].spatial.weight[3] = float("nan")
    with pytest.raises(QuantizationError, match="are no numbers; use precision 'float32'"):
        make_engine(m.problem, network, EngineOptions(CPU, precision="int8"))
    with pytest.raises(ValueError, match="in float32 the native engine runs separable networks"):
        NativeEngine(m.problem, network, precision="float32")


@pytest.mark.parametrize(
    ("kind", "largest"), [("stream_high", 830), ("stream_low", -830), ("hidden_high", 830)]
)
def test_activations_that_16_bits_do_not_hold_are_refused(model, calibrated_network, kind, largest):
    m, network = model(), calibrated_network(1)
    getattr(network.ranges, kind)[-1, 0] = np.copysign(819, largest)
    _native(m, network)
    getattr(network.ranges, kind)[-1, 0] = largest
    with pytest.raises(QuantizationError, match="activations reach 830, and int8 holds them up to 819; use"):
        _native(m, network)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("unit_bits", 12, "unit_bits has 12, not 5 to 11"),
        ("used", 25, "used has 25, not 0 to 24"),
        ("used", -1, "used has -1, not 0 to 24"),
    ],
)
def test_tables_that_would_index_outside_are_refused(model, calibrated_network, name, value, reason):
    inputs = LayerInputs.of_problem(model().problem, noise_conditioned=False)
    arrays = DenseTables(calibrated_network(1), [inputs]).arrays
    arrays[name].flat[-1] = value
    with pytest.raises(ValueError, match=reason):
        _qecpipe.Network.dense_int8(arrays)


def test_a_stream_predecoder_runs_it_layer_by_layer(model, calibrated_network):
    m, network = model(3, 6, "x", "ZV"), calibrated_network(1)
    layers = LayeredDem.from_dem(m.problem.dem.flattened())
    made = {
        precision: StreamPredecoder(
            m.problem, network, policy=None, layers=layers, device="cpu", precision=precision
        )
        for precision in ("auto", "int8")
    }
    assert {name: stream.precision for name, stream in made.items()} == {"auto": "float32", "int8": "int8"}
    assert made["auto"].layer_network is None
    assert made["int8"].layer_network is not None
    assert made["int8"].layer_network.delay >= network.config.residual_blocks + 2
