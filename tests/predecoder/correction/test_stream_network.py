"""A network's layers of logits on a stream are those of the whole shot, bit for bit, and come in time."""

import numpy as np
import pytest

import _qecpipe
from global_decoders.windows import LayeredDem
from predecoder.correction.stream_network import stream_network
from predecoder.inference import LayerNetwork, NativeEngine
from predecoder.weights import load_bundle
from qec import DecodingProblem


def _whole(problem: DecodingProblem, network, precision: str, shots: np.ndarray) -> np.ndarray:
    """Logits of whole shots on the grid `(shots, 3, layers, I, J)`, NaN where there is no move."""
    layout = problem.layout
    engine = NativeEngine(problem, network, precision=precision)  # pyright: ignore[reportArgumentType]
    grid = np.full((len(shots), layout.move_mask.size), np.nan, dtype=np.float32)
    grid[:, problem.moves.positions] = engine(np.packbits(shots, axis=1, bitorder="little"))
    return grid.reshape(len(shots), *layout.move_mask.shape)[:, :, : layout.layers]


def _streamed(stream: _qecpipe.LayerStream, problem: DecodingProblem, shot: np.ndarray) -> np.ndarray:
    """Logits of one shot `(3, layers, I, J)`; every layer comes as soon as `delay` says, and no sooner."""
    layout, got = problem.layout, []
    grid = np.zeros(layout.shape, dtype=np.uint8)
    grid.ravel()[layout.flat_voxels] = shot
    for t in range(layout.layers):
        logits = stream.push(grid[t], last=t == layout.layers - 1)
        if t < layout.layers - 1:
            assert logits.shape[1] == (t >= stream.delay)
        got.append(logits)
    return np.concatenate(got, axis=1)


def _check(streams: LayerNetwork, problem: DecodingProblem, network, shots: np.ndarray) -> None:
    stream, moves = streams.begin(), None
    for shot, expected in zip(shots, _whole(problem, network, streams.precision, shots), strict=True):
        stream.start()
        got = _streamed(stream, problem, shot)
        moves = ~np.isnan(expected)
        assert got.shape == expected.shape
        assert np.array_equal(got[moves], expected[moves])
    assert moves is not None
    assert moves.any()


@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("noise_conditioned", [False, True])
@pytest.mark.parametrize("patch_embedding", [0, 6])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_one_network_streams_experiments_of_all_lengths(
    model, quantized_network, precision, noise_conditioned, patch_embedding, basis
):
    network = quantized_network(2, noise_conditioned=noise_conditioned, patch_embedding=patch_embedding)
    read = model(3, 12, basis)
    layers = LayeredDem.from_dem(read.dem.flattened())
    streams = stream_network(read.problem, network, layers=layers, precision=precision)
    rng = np.random.default_rng(1)
    lengths = [rounds for rounds in (4, 5, 8, 12, 13, 20, 27) if layers.can_have(rounds + 1)]
    assert len(lengths) > 4
    for rounds in lengths:
        problem = model(3, rounds, basis).problem
        shots = (rng.random((2, problem.layout.num_detectors)) < 0.2).astype(np.uint8)
        _check(streams, problem, network, shots)


@pytest.mark.parametrize("weights", ["realtime", "fast"])
@pytest.mark.parametrize("instruction_set", _qecpipe.instruction_sets())
def test_shipped_weights(model, weights, instruction_set):
    m, network = model(5, 9, "z", "ZH"), load_bundle(weights).network
    layers = LayeredDem.from_dem(m.dem.flattened())
    streams = stream_network(
        m.problem, network, layers=layers, precision="int8", instruction_set=instruction_set
    )
    assert streams.network.instruction_set == instruction_set
    _check(streams, m.problem, network, m.dem.compile_sampler(seed=2).sample(3)[0].astype(np.uint8))


def test_a_shot_that_is_left_does_not_reach_the_next(model, quantized_network):
    m, network = model(3, 8), quantized_network(1)
    layers = LayeredDem.from_dem(m.dem.flattened())
    stream = stream_network(m.problem, network, layers=layers, precision="int8").begin()
    shot = np.random.default_rng(3).integers(0, 2, m.layout.num_detectors, dtype=np.uint8)
    first = _streamed(stream, m.problem, shot)
    stream.start()
    for _ in range(5):
        stream.push(np.ones(m.layout.shape[1:], dtype=np.uint8))
    stream.start()
    assert np.array_equal(_streamed(stream, m.problem, shot), first)


def test_what_no_experiment_has_is_refused(model, quantized_network):
    m, network = model(3, 3), quantized_network(1)
    layers = LayeredDem.from_dem(m.dem.flattened())
    assert not layers.cycle
    stream = stream_network(m.problem, network, layers=layers, precision="int8").begin()
    with pytest.raises(ValueError, match="an experiment has no 1 layers"):
        stream.push(np.zeros(m.layout.shape[1:], dtype=np.uint8), last=True)
    with pytest.raises(ValueError, match=r"detections: got an array of uint8 \(2, 2\)|detections"):
        stream.push(np.zeros((2, 2), dtype=np.uint8))
