"""The engine in integers: the arithmetic that its source promises, on any machine, near the network's own."""

import itertools

import numpy as np
import pytest
import torch

import _qecpipe
from predecoder.inference import (
    NativeNetwork,
    NativeQuantizedNetwork,
    QuantizationError,
    QuantizedTables,
    ReferenceQuantizedNetwork,
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


def _pairs(table: np.ndarray, dtype: type) -> np.ndarray:
    """A table of tiles `(..., o / tile, C / 2, tile)` of pairs as `(..., o, C)`."""
    *many, groups, inputs, tile = table.shape
    rows = np.ascontiguousarray(table.swapaxes(-2, -1)).reshape(*many, groups * tile, inputs, 1)
    return rows.view(dtype)[..., :2].reshape(*many, groups * tile, 2 * inputs).astype(np.int64)


class _Wide:
    """The network once more, on arrays (B, T, I, J, C) of 64 bits that cannot overflow: nothing else may."""

    def __init__(self, tables: QuantizedTables) -> None:
        short = {name: table for name, table in tables.arrays.items() if table.dtype == np.int16}
        self.tables = {name: table.astype(np.int64) for name, table in short.items()}
        self.raw, self.layout, self.moves = tables.arrays, tables.layout, tables.moves

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
        x = np.broadcast_to(t["first_layer_bias"], (len(packed), *t["first_layer_bias"].shape))
        for row, detector, dj in itertools.product(range(9), range(4), range(3)):
            seen = self._around(fired[..., detector : detector + 1], 3 * row + dj)
            x = _saturated(x + seen * t["embed"][detector, 3 * row + dj])
        x = np.maximum(x, 0)
        mix = _pairs(self.raw["pointwise"], np.int8)
        for block in range(len(mix)):
            total = np.zeros_like(x)
            for tap in range(27):
                total += _scaled(self._around(x, tap), t["depthwise"][block, :, tap])
            assert np.abs(total).max() < 2**15
            field = t["position_bias"][block][self.raw["kind"]].transpose(0, 1, 3, 2)
            hidden = np.clip(_scaled(_saturated(total + field), t["gain"][block]), 0, 127)
            total = np.zeros_like(x)
            for first in range(0, x.shape[-1], CHUNK):
                part = slice(first, first + CHUNK)
                sums = hidden[..., part] @ mix[block][:, part].T
                assert np.abs(sums).max() < 2**15
                total = _saturated(total + sums)
            step = _saturated(_scaled(total, t["pointwise_gain"][block]) + t["pointwise_bias"][block])
            x = _saturated(x + step)
        sums = x @ _pairs(self.raw["head"], np.int16).T + self.raw["head_bias"]
        assert np.abs(sums).max() < 2**31
        logits = sums.astype(np.float32) * self.raw["head_scale"]
        kind, layer, i, j = np.unravel_index(self.moves.positions, self.layout.move_mask.shape)
        return logits[:, layer, i // 2, j // 2, 4 * kind + 2 * (i % 2) + j % 2]


@pytest.mark.parametrize(
    ("distance", "rounds", "basis", "orientation", "shots", "channels"),
    [
        (3, 2, "x", "XV", 1, 48),
        (3, 7, "z", "ZH", 17, 16),
        (5, 3, "x", "ZV", 16, 64),
        (7, 4, "z", "XH", 35, 48),
    ],
)
def test_every_bit_is_that_of_the_arithmetic(
    model, quantized_network, distance, rounds, basis, orientation, shots, channels
):
    m, network = model(distance, rounds, basis, orientation), quantized_network(distance, channels=channels)
    packed = _shots(m, shots)
    tables = QuantizedTables(m.problem, network)
    expected = _Wide(tables)(packed)
    assert expected.std() > 0.1
    assert np.array_equal(NativeQuantizedNetwork(tables)(packed), expected)
    assert np.array_equal(ReferenceQuantizedNetwork(tables)(packed), expected)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_nothing_wraps_far_outside_the_calibrated_ranges(model, quantized_network, factor):
    """Shots of random bits, through a network calibrated for activations that are much smaller or larger."""
    m, network = model(5, 3), quantized_network(3)
    network.stream_range *= factor
    network.hidden_range *= factor
    packed = np.random.default_rng(1).integers(0, 256, (20, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    tables = QuantizedTables(m.problem, network)
    expected = _Wide(tables)(packed)
    assert np.array_equal(NativeQuantizedNetwork(tables)(packed), expected)
    assert np.array_equal(ReferenceQuantizedNetwork(tables)(packed), expected)


@pytest.mark.parametrize("instruction_set", _qecpipe.instruction_sets())
def test_the_same_bits_with_every_instruction_set(model, quantized_network, instruction_set):
    m, network = model(5, 3), quantized_network(5)
    packed, tables = _shots(m, 20), QuantizedTables(m.problem, network)
    engine = NativeQuantizedNetwork(tables, instruction_set=instruction_set)
    assert engine.instruction_set == instruction_set
    assert np.array_equal(engine(packed), ReferenceQuantizedNetwork(tables)(packed))


@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_logits_are_near_those_in_floating_point(model, quantized_network, noise_conditioned):
    m, network = model(5, 4, "z", "ZH"), quantized_network(4, noise_conditioned=noise_conditioned)
    packed = _shots(m, 200)
    exact = NativeNetwork(m.problem, network)(packed)
    got = NativeQuantizedNetwork(QuantizedTables(m.problem, network))(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    assert not np.array_equal(got, exact)


@pytest.mark.parametrize("layers", [1, 3, 10])
def test_tiles_and_batches_have_the_same_bits(model, quantized_network, monkeypatch, layers):
    m, network = model(3, 24, "z", "XH"), quantized_network(5)
    packed = _shots(m, 33)
    whole = NativeQuantizedNetwork(QuantizedTables(m.problem, network))(packed)
    monkeypatch.setattr("predecoder.inference.native_volumes._CELLS_PER_TILE", layers * 4)
    tiled = NativeQuantizedNetwork(QuantizedTables(m.problem, network))
    assert np.array_equal(tiled(packed), whole)
    assert np.array_equal(np.concatenate([tiled(packed[:15]), tiled(packed[15:])]), whole)


@pytest.mark.slow
def test_a_patch_wider_than_a_tile_of_columns(model, quantized_network):
    m, network = model(21, 2), quantized_network(3, channels=16)
    packed = _shots(m, 2)
    tables = QuantizedTables(m.problem, network)
    expected = _Wide(tables)(packed)
    assert np.array_equal(NativeQuantizedNetwork(tables)(packed), expected)
    assert np.array_equal(ReferenceQuantizedNetwork(tables)(packed), expected)


def test_a_channel_that_never_fires_and_a_network_of_zeros_are_no_trouble(model, quantized_network):
    m, network = model(), quantized_network(1, channels=16)
    with torch.no_grad():
        for block in network.trunk:
            block.depthwise.weight[3] = 0
            block.depthwise.bias[3] = -1
        calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    packed = _shots(m, 40)
    exact = NativeNetwork(m.problem, network)(packed)
    got = NativeQuantizedNetwork(QuantizedTables(m.problem, network))(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    assert not NativeQuantizedNetwork(QuantizedTables(m.problem, network))(packed).any()


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
            make_engine(m.problem, network, device=CPU, precision=precision)
    engine = make_engine(m.problem, network, device=CPU, precision="float32")
    assert isinstance(engine, NativeNetwork)


def test_who_runs_it(model, quantized_network, separable_network):
    m, network = model(), quantized_network()
    packed = _shots(m, 20)
    native = make_engine(m.problem, network, device=CPU)
    plain = make_engine(m.problem, network, device=CPU, native=False)
    assert isinstance(native, NativeQuantizedNetwork)
    assert isinstance(plain, ReferenceQuantizedNetwork)
    assert native.precision == plain.precision == "int8"
    assert np.array_equal(native(packed), plain(packed))
    with pytest.raises(ValueError, match="family 'quantized-separable', not SeparableConfig"):
        QuantizedTables(m.problem, separable_network())
