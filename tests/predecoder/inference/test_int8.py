"""The engine in integers: the arithmetic that its source promises, on any machine, near the network's own."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import _qecpipe
from predecoder.inference import (
    EngineOptions,
    LayerInputs,
    NativeEngine,
    QuantizationError,
    QuantizedTables,
    make_engine,
)
from predecoder.inference.table_layout import cells
from predecoder.network import calibrate

CPU = torch.device("cpu")
CHUNK = 32


def _shots(model, shots: int, *, seed: int = 1) -> np.ndarray:
    return model.dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)[0]


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _scaled(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b + 2**14) >> 15


def _native(model, network, instruction_set: str = "") -> NativeEngine:
    return NativeEngine(model.problem, network, precision="int8", instruction_set=instruction_set)


class _Wide:
    """The network once more, on arrays (B, T, I, J, C) of 64 bits that cannot overflow: nothing else may."""

    def __init__(self, model, network) -> None:
        inputs = LayerInputs.of_problem(model.problem, noise_conditioned=network.config.noise_conditioned)
        tables = QuantizedTables(network, [inputs])
        self.tables = {
            name: table if name == "head_scale" else table.astype(np.int64)
            for name, table in tables.arrays.items()
        }
        self.first_layer, self.position = tables.timelines[0].T
        self.layout, self.moves = model.layout, model.moves

    @staticmethod
    def _around(x: np.ndarray, tap: int) -> np.ndarray:
        """Of every cell, the one that a tap sees; zeros outside."""
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
        dt, di, dj = tap // 9, tap // 3 % 3, tap % 3
        _, layers, rows, columns, _ = x.shape
        return padded[:, dt : dt + layers, di : di + rows, dj : dj + columns]

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        t = self.tables
        detections = np.unpackbits(packed, axis=1, count=self.layout.num_detectors, bitorder="little")
        grid = cells(self.layout.detector_grid)
        fired = np.where(grid >= 0, detections[:, grid], 0).transpose(0, 1, 3, 4, 2).astype(np.int64)
        bias = t["first_layer_bias"][self.first_layer]
        x = np.broadcast_to(bias, (len(packed), *bias.shape))
        for row, detector, dj in itertools.product(range(9), range(4), range(3)):
            seen = self._around(fired[..., detector : detector + 1], 3 * row + dj)
            x = _saturated(x + seen * t["embed"][detector, 3 * row + dj])
        x = np.maximum(x, 0)
        mix = t["pointwise"]
        for block in range(len(mix)):
            total = np.zeros_like(x)
            for tap in range(27):
                total += _scaled(self._around(x, tap), t["depthwise"][block, :, tap])
            assert np.abs(total).max() < 2**15
            field = t["position_bias"][block][self.position]
            hidden = np.clip(_scaled(_saturated(total + field), t["gain"][block]), 0, 127)
            total = np.zeros_like(x)
            for first in range(0, x.shape[-1], CHUNK):
                part = slice(first, first + CHUNK)
                sums = hidden[..., part] @ mix[block][:, part].T
                assert np.abs(sums).max() < 2**15
                total = _saturated(total + sums)
            step = _saturated(_scaled(total, t["pointwise_gain"][block]) + t["pointwise_bias"][block])
            x = _saturated(x + step)
        sums = x @ t["head"].T + t["head_bias"]
        assert np.abs(sums).max() < 2**31
        logits = sums.astype(np.float32) * t["head_scale"]
        kind, layer, i, j = np.unravel_index(self.moves.positions, self.layout.move_mask.shape)
        return logits[:, layer, i // 2, j // 2, 4 * kind + 2 * (i % 2) + j % 2]


@pytest.mark.parametrize(
    ("distance", "rounds", "basis", "orientation", "shots", "channels"),
    [
        (3, 2, "x", "XV", 1, 48),
        (3, 7, "z", "ZH", 17, 16),
        (5, 3, "x", "ZV", 16, 64),
        (7, 4, "z", "XH", 35, 48),
        (9, 2, "x", "XV", 3, 32),
        ((3, 6), 5, "z", "XV", 70, 80),
        ((5, 4), 3, "x", "ZH", 2, 112),
    ],
)
def test_every_bit_is_that_of_the_arithmetic(
    model, quantized_network, distance, rounds, basis, orientation, shots, channels
):
    m, network = model(distance, rounds, basis, orientation), quantized_network(rounds, channels=channels)
    packed = _shots(m, shots)
    expected = _Wide(m, network)(packed)
    assert expected.std() > 0.1
    for name in _qecpipe.instruction_sets():
        assert np.array_equal(_native(m, network, name)(packed), expected)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_nothing_wraps_far_outside_the_calibrated_ranges(model, quantized_network, factor):
    """Shots of random bits, through a network calibrated for activations that are much smaller or larger."""
    m, network = model(5, 3), quantized_network(3)
    network.stream_range *= factor
    network.hidden_range *= factor
    packed = np.random.default_rng(1).integers(0, 256, (20, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    expected = _Wide(m, network)(packed)
    for name in _qecpipe.instruction_sets():
        assert np.array_equal(_native(m, network, name)(packed), expected)


@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_logits_are_near_those_in_floating_point(model, quantized_network, noise_conditioned):
    m, network = model(5, 4, "z", "ZH"), quantized_network(4, noise_conditioned=noise_conditioned)
    packed = _shots(m, 200)
    exact = NativeEngine(m.problem, network, precision="float32")(packed)
    got = _native(m, network)(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    assert not np.array_equal(got, exact)


def test_shots_are_alike_in_all_batches_and_threads(model, quantized_network):
    m, network = model(3, 24, "z", "XH"), quantized_network(5)
    packed, engine = _shots(m, 33), _native(m, network)
    whole = engine(packed)
    assert np.array_equal(np.concatenate([engine(packed[:15]), engine(packed[15:])]), whole)
    with ThreadPoolExecutor(4) as pool:
        assert np.array_equal(np.concatenate(list(pool.map(engine, np.split(packed, 33)))), whole)
    assert engine(packed[:0]).shape == (0, m.moves.num_moves)


@pytest.mark.slow
def test_a_patch_wider_than_a_tile_of_columns(model, quantized_network):
    m, network = model(21, 2), quantized_network(3, channels=16)
    packed = _shots(m, 2)
    expected = _Wide(m, network)(packed)
    for name in _qecpipe.instruction_sets():
        assert np.array_equal(_native(m, network, name)(packed), expected)


def test_a_channel_that_never_fires_and_a_network_of_zeros_are_no_trouble(model, quantized_network):
    m, network = model(), quantized_network(1, channels=16)
    with torch.no_grad():
        for block in network.trunk:
            block.depthwise.weight[3] = 0
            block.depthwise.bias[3] = -1
        calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    packed = _shots(m, 40)
    exact = NativeEngine(m.problem, network, precision="float32")(packed)
    got = _native(m, network)(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    assert not _native(m, network)(packed).any()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda n: n.stream_range.zero_(), "was never calibrated for int8"),
        (lambda n: n.trunk[0].pointwise.weight.data.mul_(1e6), "are too large, or no numbers"),
        (lambda n: n.trunk[1].pointwise.weight.data.fill_(float("nan")), "are too large, or no numbers"),
    ],
)
def test_what_int8_cannot_hold_is_refused_and_float32_is_there(model, quantized_network, spoil, reason):
    m, network = model(), quantized_network(8, channels=16)
    spoil(network)
    for precision in ("auto", "int8"):
        with pytest.raises(QuantizationError, match=reason + ".*use precision 'float32'"):
            make_engine(m.problem, network, EngineOptions(CPU, precision=precision))
    engine = make_engine(m.problem, network, EngineOptions(CPU, precision="float32"))
    assert isinstance(engine, NativeEngine)
    assert engine.precision == "float32"


def test_who_runs_it(model, quantized_network, separable_network):
    m, network = model(), quantized_network()
    engine = make_engine(m.problem, network, EngineOptions(CPU))
    assert isinstance(engine, NativeEngine)
    assert engine.precision == "int8"
    assert engine.instruction_set == _qecpipe.instruction_sets()[-1]
    with pytest.raises(ValueError, match="family 'quantized-separable', not SeparableConfig"):
        _native(m, separable_network())
