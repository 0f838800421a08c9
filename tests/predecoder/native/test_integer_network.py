"""The engine in integers: the arithmetic that its source promises, on any machine, near the network's own."""

import ctypes
import itertools

import numpy as np
import pytest
import torch

from cuda.qecpipe.cpu_build import find_compiler
from predecoder.calibration import calibrate
from predecoder.engines import TorchEngine, make_engine
from predecoder.native import NativeIntegerNetwork, NativeNetwork, NativeUnavailableError
from predecoder.native import library as native_library
from predecoder.native.placement import cells
from predecoder.network import NetworkConfig

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


class _Reference:
    """The integer network once more, on whole arrays (B, T, I, J, C) of 64 bits that cannot overflow."""

    def __init__(self, engine: NativeIntegerNetwork, layout, moves) -> None:
        short = {name: table for name, table in engine._tables.items() if table.dtype == np.int16}
        self.tables = {name: table.astype(np.int64) for name, table in short.items()}
        self.raw, self.layout, self.moves = engine._tables, layout, moves

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
        x = np.broadcast_to(t["start"], (len(packed), *t["start"].shape))
        for row, detector, dj in itertools.product(range(9), range(4), range(3)):
            seen = self._around(fired[..., detector : detector + 1], 3 * row + dj)
            x = _saturated(x + seen * t["embed"][detector, 3 * row + dj])
        x = np.maximum(x, 0)
        mix = _pairs(self.raw["mix"], np.int8)
        for block in range(len(mix)):
            total = np.zeros_like(x)
            for tap in range(27):
                total += _scaled(self._around(x, tap), t["depth"][block, :, tap])
            assert np.abs(total).max() < 2**15
            field = t["fields"][block][self.raw["kind"]].transpose(0, 1, 3, 2)
            hidden = np.clip(_scaled(_saturated(total + field), t["gain"][block]), 0, 127)
            total = np.zeros_like(x)
            for first in range(0, x.shape[-1], CHUNK):
                part = slice(first, first + CHUNK)
                sums = hidden[..., part] @ mix[block][:, part].T
                assert np.abs(sums).max() < 2**15
                total = _saturated(total + sums)
            step = _saturated(_scaled(total, t["mix_gain"][block]) + t["mix_bias"][block])
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
    model, integer_network, distance, rounds, basis, orientation, shots, channels
):
    m, network = model(distance, rounds, basis, orientation), integer_network(distance, channels=channels)
    packed = _shots(m, shots)
    engine = NativeIntegerNetwork(m.problem, network)
    got, expected = engine(packed), _Reference(engine, m.layout, m.moves)(packed)
    assert got.std() > 0.1
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_nothing_wraps_far_outside_the_calibrated_ranges(model, integer_network, factor):
    """Shots of random bits, through a network calibrated for activations that are much smaller or larger."""
    m, network = model(5, 3), integer_network(3)
    network.stream_range *= factor
    network.hidden_range *= factor
    packed = np.random.default_rng(1).integers(0, 256, (20, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    engine = NativeIntegerNetwork(m.problem, network)
    assert np.array_equal(engine(packed), _Reference(engine, m.layout, m.moves)(packed))


@pytest.mark.slow
def test_the_same_bits_without_vector_instructions(model, integer_network, tmp_path, monkeypatch):
    m, network = model(5, 3), integer_network(5)
    packed = _shots(m, 20)
    here = NativeIntegerNetwork(m.problem, network)(packed)
    path = native_library.SOURCES / "integer_network.cpp"
    flags = (*native_library._FLAGS, "-Wno-psabi")
    native_library._build(find_compiler(), flags, path, tmp_path / "plain.so")
    plain = ctypes.CDLL(str(tmp_path / "plain.so"))
    monkeypatch.setattr("predecoder.native.volumes.load_library", lambda _: plain)
    assert np.array_equal(NativeIntegerNetwork(m.problem, network)(packed), here)


@pytest.mark.parametrize("told", [False, True])
def test_logits_are_near_those_in_floating_point(model, integer_network, told):
    m, network = model(5, 4, "z", "ZH"), integer_network(4, rates=told)
    packed = _shots(m, 200)
    exact = NativeNetwork(m.problem, network)(packed)
    got = NativeIntegerNetwork(m.problem, network)(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    assert not np.array_equal(got, exact)


@pytest.mark.parametrize("layers", [1, 3, 10])
def test_tiles_and_batches_have_the_same_bits(model, integer_network, monkeypatch, layers):
    m, network = model(3, 24, "z", "XH"), integer_network(5)
    packed = _shots(m, 33)
    whole = NativeIntegerNetwork(m.problem, network)(packed)
    monkeypatch.setattr("predecoder.native.volumes._CELLS_PER_TILE", layers * 4)
    tiled = NativeIntegerNetwork(m.problem, network)
    assert np.array_equal(tiled(packed), whole)
    assert np.array_equal(np.concatenate([tiled(packed[:15]), tiled(packed[15:])]), whole)


@pytest.mark.slow
def test_a_patch_wider_than_a_tile_of_columns(model, integer_network):
    m, network = model(21, 2), integer_network(3, channels=16)
    packed = _shots(m, 2)
    engine = NativeIntegerNetwork(m.problem, network)
    assert np.array_equal(engine(packed), _Reference(engine, m.layout, m.moves)(packed))


def test_a_channel_that_never_fires_and_a_network_of_zeros_are_no_trouble(model, integer_network):
    m, network = model(), integer_network(1, channels=16)
    with torch.no_grad():
        for block in network.trunk:
            block.spatial.weight[3] = 0
            block.spatial.bias[3] = -1
        calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    packed = _shots(m, 40)
    exact = NativeNetwork(m.problem, network)(packed)
    got = NativeIntegerNetwork(m.problem, network)(packed)
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * exact.std()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    calibrate(network, [(torch.ones(4, 16, 2, 2, 2), None)])
    assert not NativeIntegerNetwork(m.problem, network)(packed).any()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda n: n.stream_range.zero_(), "was never calibrated"),
        (lambda n: n.trunk[0].mix.weight.data.mul_(1e6), "are too large, or no numbers"),
        (lambda n: n.trunk[1].mix.weight.data.fill_(float("nan")), "are too large, or no numbers"),
    ],
)
def test_what_integers_cannot_hold_is_computed_in_floating_point(model, integer_network, spoil, reason):
    m, network = model(), integer_network(8, channels=16)
    spoil(network)
    engine = make_engine(m.problem, network, device=CPU)
    assert isinstance(engine, NativeNetwork)
    with pytest.raises(NativeUnavailableError, match=reason):
        NativeIntegerNetwork(m.problem, network)


def test_who_runs_it(model, integer_network, separable_network):
    m, network = model(), integer_network()
    assert isinstance(make_engine(m.problem, network, device=CPU), NativeIntegerNetwork)
    assert isinstance(make_engine(m.problem, network, device=CPU, native=False), TorchEngine)
    with pytest.raises(ValueError, match="runs calibrated separable networks, not NetworkConfig"):
        NativeIntegerNetwork(m.problem, separable_network())
    fitting = {"channels": 32, "separable": True, "time_fold": 1}
    for other in ({"channels": 24}, {"channels": 272}, {"separable": False}, {"time_fold": 2}):
        with pytest.raises(ValueError, match="integers=true needs separable=true, time_fold=1 and channels"):
            NetworkConfig(**fitting | other, integers=True)
