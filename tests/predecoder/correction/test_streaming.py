"""On a stream, residual and flips are those of the whole volume, bit for bit, and layers come in time."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from global_decoders.windows import LayeredDem
from predecoder.applicability import ShortExperimentWarning
from predecoder.correction import (
    ClusterDecision,
    ResidualLayer,
    ResidualNetwork,
    StreamPredecoder,
    ThresholdPolicy,
)
from predecoder.correction.streaming import TileLogits
from predecoder.inference import EngineOptions, NativeEngine

CPU = torch.device("cpu")
LONGEST_WAIT = 64
"""Layers that an open cluster may hold back (native/streams/stage.h)."""


def _streamed(predecoder: StreamPredecoder, layout, shot: np.ndarray) -> list[ResidualLayer]:
    """The layers of one shot, in the order of time."""
    stream = predecoder.begin()
    area = int(np.prod(layout.shape[1:]))
    layers = [np.flatnonzero(layout.voxels[:, 0] == t) for t in range(layout.layers)]
    done = []
    for t, here in enumerate(layers):
        last = t == layout.layers - 1
        done += (stream.end if last else stream.add)(shot[here], layout.flat_voxels[here] % area)
    return done


def _stream(
    model, network, policy: ThresholdPolicy, *, tile: int = 2, min_rounds: int = 1
) -> StreamPredecoder:
    layers = LayeredDem.from_dem(model.dem.flattened())
    return StreamPredecoder(
        *(model.problem, network),
        policy=policy,
        layers=layers,
        device=CPU,
        tile=tile,
        min_rounds=min_rounds,
    )


def _whole(model, network, policy: ThresholdPolicy, shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual bits, in the order of time, and packed flips of whole shots."""
    layout = model.layout
    whole = ResidualNetwork(model.problem, network, EngineOptions(CPU))
    rule = ClusterDecision(model.problem, policy)
    packed, flips = whole.residuals(np.packbits(shots, axis=1, bitorder="little"), [rule])[0]
    residual = np.unpackbits(packed, axis=1, count=layout.num_detectors, bitorder="little")
    return residual[:, np.argsort(layout.voxels[:, 0], kind="stable")], flips


@pytest.mark.parametrize("rounds", [2, 11, 24])
@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("tile", [1, 3])
@pytest.mark.parametrize("clustering", ["moves", "hyperedges"])
@pytest.mark.parametrize(
    "policy", [ThresholdPolicy(), ThresholdPolicy(-3.0, 3.0), ThresholdPolicy(3.0, 5.0, "empty")]
)
def test_a_stream_is_the_whole_volume(model, random_network, rounds, basis, tile, policy, clustering) -> None:
    m, network = model(3, rounds, basis), random_network(rounds)
    layout, policy = m.layout, dataclasses.replace(policy, clustering=clustering)
    # From a few detections, which few hyperedges join, to so many that everything hangs together.
    random, density = np.random.default_rng(rounds), np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
    shots = (random.random((6, layout.num_detectors)) < density[:, None]).astype(np.uint8)
    left, flips = _whole(m, network, policy, shots)
    predecoder = _stream(m, network, policy, tile=tile)
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(predecoder, layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


@pytest.mark.parametrize(("distance", "rounds"), [(3, 2), (3, 24), (5, 9)])
@pytest.mark.parametrize("patch_embedding", [0, 6])
@pytest.mark.parametrize("native", [False, True])
def test_a_stream_through_a_separable_network_is_the_whole_volume(
    model, separable_network, monkeypatch, distance, rounds, patch_embedding, native
) -> None:
    """In torch, and in C++."""
    if not native:
        monkeypatch.setattr(NativeEngine, "runs", staticmethod(lambda *_: False))
    m, network = model(distance, rounds, "x"), separable_network(rounds, patch_embedding=patch_embedding)
    policy = ThresholdPolicy(-3.0, 3.0)
    random = np.random.default_rng(rounds)
    shots = (random.random((4, m.layout.num_detectors)) < 0.1).astype(np.uint8)
    left, flips = _whole(m, network, policy, shots)
    predecoder = _stream(m, network, policy, tile=1)
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(predecoder, m.layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


@pytest.mark.parametrize(("rounds", "read"), [(2, 2), (7, 7), (24, 24), (24, 9), (12, 24)])
@pytest.mark.parametrize(
    ("tile", "policy"), [(1, ThresholdPolicy()), (3, ThresholdPolicy(3.0, 5.0, "empty", "hyperedges"))]
)
@pytest.mark.parametrize("separable", [False, True])
def test_a_noise_conditioned_stream_is_the_whole_volume(
    model, random_network, separable_network, rounds, read, tile, policy, separable
) -> None:
    """Also where the layers were read from an experiment of another length."""
    m, network = (
        model(3, rounds, "z"),
        (separable_network if separable else random_network)(3, noise_conditioned=True),
    )
    random = np.random.default_rng(rounds)
    shots = (random.random((3, m.layout.num_detectors)) < 0.1).astype(np.uint8)
    left, flips = _whole(m, network, policy, shots)
    predecoder = _stream(model(3, read, "z"), network, policy, tile=tile)
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(predecoder, m.layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


@pytest.mark.parametrize("rounds", [1, 4, 5, 12])
@pytest.mark.parametrize("min_rounds", [1, 5, 13])
def test_short_experiments_are_left_as_they_are(model, random_network, rounds, min_rounds) -> None:
    """Their length is not known ahead, so nothing is decided before they are long enough."""
    m, network, policy = model(3, rounds, "x"), random_network(2), ThresholdPolicy(-3.0, 3.0)
    shots = np.random.default_rng(rounds).integers(0, 2, (4, m.layout.num_detectors), dtype=np.uint8)
    left, flips = _whole(m, network, policy, shots)
    order = np.argsort(m.layout.voxels[:, 0], kind="stable")
    predecoder = _stream(m, network, policy, tile=1, min_rounds=min_rounds)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        streamed = [_streamed(predecoder, m.layout, shot) for shot in shots]
    short = rounds < min_rounds
    assert [w.category for w in caught] == [ShortExperimentWarning] * short  # warned once
    assert {w.filename for w in caught} <= {__file__}
    for shot, layers, bits, flipped in zip(shots, streamed, left, flips, strict=True):
        assert np.array_equal(
            np.concatenate([layer.bits for layer in layers]), shot[order] if short else bits
        )
        expected = 0 if short else flipped[0] & 1
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == expected


@pytest.mark.parametrize("min_rounds", [1, 40])
def test_layers_come_back_within_the_latency_and_memory_is_bounded(model, random_network, min_rounds) -> None:
    m = model(3, 9, "x")
    predecoder = _stream(m, random_network(), ThresholdPolicy(), min_rounds=min_rounds)
    stream, bulk = predecoder.begin(), _bulk(m.layout)
    random = np.random.default_rng(1)
    back = 0
    for t in range(300):
        back += len(stream.add(random.integers(0, 2, len(bulk), dtype=np.uint8), bulk))
        assert t + 1 - back <= predecoder.latency
        assert isinstance(stream._logits, TileLogits)
        assert len(stream._logits._layers) <= predecoder.latency + 2 * predecoder.halo + 2


def test_a_cluster_without_end_is_given_up(model, random_network) -> None:
    """With a network that proposes half of all moves, everything hangs together."""
    m = model(3, 9, "x")
    predecoder = _stream(m, random_network(), ThresholdPolicy(-1.0, 1e9))
    stream, bulk = predecoder.begin(), _bulk(m.layout)
    random = np.random.default_rng(2)
    back = 0
    for t in range(250):
        back += len(stream.add(random.integers(0, 2, len(bulk), dtype=np.uint8), bulk))
        assert t + 1 - back <= predecoder.latency + LONGEST_WAIT


def _bulk(layout) -> np.ndarray:
    """Cells of the detectors of a layer in the middle."""
    return layout.flat_voxels[layout.voxels[:, 0] == 4] % int(np.prod(layout.shape[1:]))


def test_a_tile_of_nothing_is_refused(model, random_network) -> None:
    with pytest.raises(ValueError, match="tile=0"):
        _stream(model(3, 9, "x"), random_network(), ThresholdPolicy(), tile=0)


def test_layers_of_another_experiment_are_refused(model, random_network) -> None:
    layers = LayeredDem.from_dem(model(3, 4, "x").dem)
    with pytest.raises(ValueError, match="a DEM of 5 layers but the layout has 10"):
        StreamPredecoder(
            *(model(3, 9, "x").problem, random_network()), policy=ThresholdPolicy(), layers=layers, device=CPU
        )
