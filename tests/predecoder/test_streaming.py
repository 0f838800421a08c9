"""On a stream, residual and flips are those of the whole volume, bit for bit, and layers come in time."""

import dataclasses

import numpy as np
import pytest
import torch

from global_decoders.windows import LayeredDem
from predecoder.decision import ChainDecision, DecisionConfig
from predecoder.mechanisms import StreamMechanisms
from predecoder.open_chains import LONGEST_WAIT
from predecoder.residual import ResidualNetwork
from predecoder.stream_layers import StreamLayers
from predecoder.streaming import ResidualLayer, StreamPredecoder

CPU = torch.device("cpu")


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


def _stream(model, network, decision: DecisionConfig, *, tile: int = 2) -> StreamPredecoder:
    layers = StreamLayers(model.layout, LayeredDem.from_dem(model.dem.flattened()))
    mechanisms = StreamMechanisms(model.problem, layers=layers)
    return StreamPredecoder(
        *(model.problem, network),
        device=CPU,
        tile=tile,
        decision=decision,
        mechanisms=mechanisms,
        layers=layers,
    )


def _whole(model, network, decision: DecisionConfig, shots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual bits, in the order of time, and packed flips of whole shots."""
    layout = model.layout
    whole = ResidualNetwork(model.problem, network, device=CPU, native=False)
    rule = ChainDecision(model.problem, decision)
    packed, flips = whole.residuals(np.packbits(shots, axis=1, bitorder="little"), [rule])[0]
    residual = np.unpackbits(packed, axis=1, count=layout.num_detectors, bitorder="little")
    return residual[:, np.argsort(layout.voxels[:, 0], kind="stable")], flips


@pytest.mark.parametrize("rounds", [2, 11, 24])
@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("tile", [1, 3])
@pytest.mark.parametrize("bind", ["moves", "mechanisms"])
@pytest.mark.parametrize(
    "decision", [DecisionConfig(), DecisionConfig(-3.0, 3.0), DecisionConfig(3.0, 5.0, "none")]
)
def test_a_stream_is_the_whole_volume(model, random_network, rounds, basis, tile, decision, bind) -> None:
    m, network = model(3, rounds, basis), random_network(rounds)
    layout, decision = m.layout, dataclasses.replace(decision, bind=bind)
    # From a few detections, which few mechanisms bind, to so many that everything hangs together.
    random, density = np.random.default_rng(rounds), np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
    shots = (random.random((6, layout.num_detectors)) < density[:, None]).astype(np.uint8)
    left, flips = _whole(m, network, decision, shots)
    predecoder = _stream(m, network, decision, tile=tile)
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(predecoder, layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


@pytest.mark.parametrize(("distance", "rounds"), [(3, 2), (3, 24), (5, 9)])
@pytest.mark.parametrize("geometry", [0, 6])
def test_a_stream_through_a_separable_network_is_the_whole_volume(
    model, separable_network, distance, rounds, geometry
) -> None:
    m, network = model(distance, rounds, "x"), separable_network(rounds, geometry=geometry)
    decision = DecisionConfig(-3.0, 3.0)
    random = np.random.default_rng(rounds)
    shots = (random.random((4, m.layout.num_detectors)) < 0.1).astype(np.uint8)
    left, flips = _whole(m, network, decision, shots)
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(_stream(m, network, decision, tile=1), m.layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


@pytest.mark.parametrize(("rounds", "read"), [(2, 2), (7, 7), (24, 24), (24, 9), (12, 24)])
@pytest.mark.parametrize(
    ("tile", "decision"), [(1, DecisionConfig()), (3, DecisionConfig(3.0, 5.0, "none", "mechanisms"))]
)
@pytest.mark.parametrize("separable", [False, True])
def test_a_stream_that_is_told_of_the_noise_is_the_whole_volume(
    model, random_network, separable_network, rounds, read, tile, decision, separable
) -> None:
    """Also where the layers were read from an experiment of another length."""
    m, network = model(3, rounds, "z"), (separable_network if separable else random_network)(3, rates=True)
    random = np.random.default_rng(rounds)
    shots = (random.random((3, m.layout.num_detectors)) < 0.1).astype(np.uint8)
    left, flips = _whole(m, network, decision, shots)
    source = model(3, read, "z")
    for shot, bits, flipped in zip(shots, left, flips, strict=True):
        layers = _streamed(_stream(source, network, decision, tile=tile), m.layout, shot)
        assert np.array_equal(np.concatenate([layer.bits for layer in layers]), bits)
        assert np.bitwise_xor.reduce([layer.flips for layer in layers])[0] == flipped[0] & 1


def test_a_network_that_is_told_of_the_noise_needs_the_layers(model, random_network) -> None:
    with pytest.raises(ValueError, match="rates=true needs the DEM's layers"):
        StreamPredecoder(model(3, 9, "x").problem, random_network(rates=True), device=CPU)


def test_layers_come_back_within_the_latency_and_memory_is_bounded(model, random_network) -> None:
    problem = model(3, 9, "x").problem
    layout = problem.layout
    predecoder = StreamPredecoder(problem, random_network(), device=CPU, decision=DecisionConfig())
    stream = predecoder.begin()
    area = int(np.prod(layout.shape[1:]))
    bulk = layout.flat_voxels[layout.voxels[:, 0] == 4] % area
    random = np.random.default_rng(1)
    back = 0
    for t in range(300):
        back += len(stream.add(random.integers(0, 2, len(bulk), dtype=np.uint8), bulk))
        assert t + 1 - back <= predecoder.latency
        assert len(stream._layers) <= predecoder.latency + 2 * predecoder.halo + 2


def test_a_chain_without_end_is_given_up(model, random_network) -> None:
    """With a network that proposes half of all moves, everything hangs together."""
    problem = model(3, 9, "x").problem
    layout = problem.layout
    decision = DecisionConfig(-1.0, 1e9)
    predecoder = StreamPredecoder(problem, random_network(), device=CPU, decision=decision)
    stream = predecoder.begin()
    bulk = layout.flat_voxels[layout.voxels[:, 0] == 4] % int(np.prod(layout.shape[1:]))
    random = np.random.default_rng(2)
    back = 0
    for t in range(250):
        back += len(stream.add(random.integers(0, 2, len(bulk), dtype=np.uint8), bulk))
        assert t + 1 - back <= predecoder.latency + LONGEST_WAIT


def test_a_tile_of_nothing_is_refused(model, random_network) -> None:
    with pytest.raises(ValueError, match="tile=0"):
        StreamPredecoder(model(3, 9, "x").problem, random_network(), device=CPU, tile=0)


def test_binding_by_mechanisms_without_a_dem_is_refused(model, random_network) -> None:
    decision = DecisionConfig(0.0, 5.0, "none", "mechanisms")
    with pytest.raises(ValueError, match="bind='mechanisms' needs the DEM's mechanisms"):
        StreamPredecoder(model(3, 9, "x").problem, random_network(), device=CPU, decision=decision)
