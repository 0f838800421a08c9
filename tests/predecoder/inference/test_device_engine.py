"""The engine for GPUs on threads of the host: the float32 engine's predictions, through every decoder."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import qec
from cuda.qecpipe import CpuDriver, DeviceStatus, torch_status
from global_decoders import make_decoder
from global_decoders.windows import LayeredDem
from predecoder import NeuralEnsembleDecoder, NeuralMatchingDecoder, PredecodedDecoder
from predecoder.correction import (
    ClusterDecision,
    MatchingDecision,
    Residual,
    ResidualNetwork,
    StreamPredecoder,
    ThresholdPolicy,
)
from predecoder.inference import (
    LOGIT_STEP,
    DeviceEngine,
    EngineOptions,
    Precision,
    TileEngine,
    TorchEngine,
    select_device,
)
from predecoder.inference import device as device_module
from predecoder.weights import load_bundle
from qec import DecodingProblem

CPU = torch.device("cpu")
POLICIES = (
    ThresholdPolicy(),
    ThresholdPolicy(commit=1.5),
    ThresholdPolicy(commit=1.0, residual="empty", clustering="hyperedges"),
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose GPUs are two threads of the host."""
    drivers = [CpuDriver(0), CpuDriver(1)]
    for module in ("engine", "device"):
        monkeypatch.setattr(f"predecoder.inference.{module}.cuda_drivers", lambda device: drivers)
    monkeypatch.setattr("predecoder.correction.streaming.cuda_drivers", lambda device: drivers[:1])
    monkeypatch.setattr(device_module, "_status", lambda index, *, needed: DeviceStatus(None))


def sampled(circuit, shots: int, *, seed: int = 5) -> np.ndarray:
    return circuit.compile_detector_sampler(seed=seed).sample(shots, bit_packed=True)


@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize(
    ("weights", "distance", "rounds"), [("realtime", 5, 5), ("fast", 3, 4), ("accurate", 3, 3)]
)
def test_logits_are_those_of_the_float32_engine(model, weights, distance, rounds, basis) -> None:
    """Bit for bit, as both are torch's on this machine, for batches that are full and one that is not."""
    m, network = model(distance, rounds, basis), load_bundle(weights).network
    packed = sampled(m.circuit, 70)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    engine = DeviceEngine(m.problem, network, drivers=[CpuDriver()], batch_shots=16)
    np.testing.assert_array_equal(engine(packed), expected, strict=True)
    assert engine(packed[:0]).shape == (0, m.moves.num_moves)


@pytest.mark.parametrize("noise_conditioned", [False, True])
def test_tiles_in_time_and_space_on_several_devices(model, random_network, noise_conditioned) -> None:
    m, network = model(5, 6), random_network(noise_conditioned=noise_conditioned)
    packed = sampled(m.circuit, 21)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    for tile in ((1, 1, 1), (2, 3, 1), (4, 2, 3)):
        for devices in (1, 2, 3):
            drivers = [CpuDriver(k) for k in range(devices)]
            engine = DeviceEngine(m.problem, network, drivers=drivers, batch_shots=8, tile=tile)
            np.testing.assert_array_equal(engine(packed), expected, strict=True)
            assert engine.corrects == (tile == (4, 3, 3))


def test_devices_share_batches_of_whole_shots(model, random_network) -> None:
    m, network = model(3, 3), random_network()
    packed = sampled(m.circuit, 100)
    drivers = [CpuDriver(k) for k in range(3)]
    engine = DeviceEngine(m.problem, network, drivers=drivers, batch_shots=16)
    expected = TorchEngine(m.problem, network, device=CPU)(packed)
    np.testing.assert_array_equal(engine(packed), expected, strict=True)
    assert min(driver.allocations() for driver in drivers) > 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("weights", ["realtime", "accurate"])
def test_devices_decide_as_the_host_does(model, gpu, weights, policy) -> None:
    m, network = model(5, 5), load_bundle(weights).removal_network
    packed = sampled(m.circuit, 50)
    decision, apply = ClusterDecision(m.problem, policy), Residual(m.moves)
    device = ResidualNetwork(m.problem, network, EngineOptions("cuda"))
    assert device._on_device.of([decision]) is not None
    logits = TorchEngine(m.problem, network, device=CPU)(packed)
    expected = decision(logits, packed)
    np.testing.assert_array_equal(device.propose(packed, [decision])[0], expected, strict=True)
    for found, kept in zip(device.residuals(packed, [decision])[0], apply(packed, expected), strict=True):
        np.testing.assert_array_equal(found, kept, strict=True)
    # Of several decisions the host makes all, from the logits of one run.
    both = [decision, MatchingDecision(m.problem)]
    for found, by in zip(device.residuals(packed, both), both, strict=True):
        for ours, theirs in zip(found, apply(packed, by(logits, packed)), strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)


def decoders(device: str) -> dict[str, Any]:
    """Every kind of decoder with a network, in float32."""
    options: dict[str, Any] = {"weights": "realtime", "device": device, "precision": "float32"}
    return {
        "threshold": PredecodedDecoder(make_decoder("pymatching"), **options),
        "abstain": PredecodedDecoder(make_decoder("pymatching-correlated"), **options),
        "complete": PredecodedDecoder(make_decoder("pymatching"), policy="complete", **options),
        "neural-matching": NeuralMatchingDecoder(**options),
        "neural-ensemble": NeuralEnsembleDecoder(**options),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", decoders("cpu"))
def test_every_decoder_predicts_the_same(model, gpu, name) -> None:
    m = model(5, 5)
    packed = sampled(m.circuit, 200)
    on = {}
    for device in ("cpu", "cuda", "cuda:1"):
        decoder = decoders(device)[name]
        assert decoder.device == device
        compiled = decoder.compile_decoder_for_dem(dem=m.dem)
        on[device] = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    # The engine in C++ rounds otherwise than torch: at most one shot in 10^4 may differ, here none.
    np.testing.assert_array_equal(on["cuda"], on["cpu"], strict=True)
    np.testing.assert_array_equal(on["cuda:1"], on["cpu"], strict=True)


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.5), ("float16", 0.12)])
def test_half_types_hand_down_int8_and_predict_nearly_the_same(precision: Precision, most: float) -> None:
    """In 1,500 shots at d = 5 they and int8 logits change a prediction or two, either way.

    In float16 nearly all of a logit's error is that of rounding it to `LOGIT_STEP`.
    """
    circuit = qec.memory_circuit(distance=5, rounds=5, basis="x", noise=qec.depolarizing(0.006))
    problem = DecodingProblem.from_circuit(circuit)
    network = load_bundle("realtime-matching").network
    packed = sampled(circuit, 1500)
    exact = TorchEngine(problem, network, device=CPU)(packed)
    engine = DeviceEngine(problem, network, drivers=[CpuDriver()], precision=precision, batch_shots=256)
    decide, flips = MatchingDecision(problem), problem.moves.observables.toarray().T
    differ = 0
    for part, logits in engine.batches(packed):
        assert (logits.values.dtype, logits.step) == (np.int8, LOGIT_STEP)  # pyright: ignore
        found = logits.float32()  # pyright: ignore[reportAttributeAccessIssue]
        clipped = np.clip(exact[part], -127 * LOGIT_STEP, 127 * LOGIT_STEP)
        assert np.abs(found - clipped).max() < most
        assert np.abs(found - clipped).mean() < 0.06
        moves, expected = decide(logits, packed[part]), decide(exact[part], packed[part])
        np.testing.assert_array_equal(moves, decide(found, packed[part]), strict=True)
        differ += int(((moves ^ expected) @ flips % 2).sum())
    assert differ <= 6  # of 1,500


def test_what_float16_does_not_hold_is_refused(model, random_network) -> None:
    """An infinite weight would make logits NaN, which are handed down as 0."""
    network = copy.deepcopy(random_network())
    with torch.no_grad():
        network.trunk[0].pointwise.weight[0, 0] = 7e4
    said = r"trunk\.0\.pointwise\.weight of this network has 7e\+04, and float16 ends at 6.55e\+04"
    with pytest.raises(ValueError, match=said):
        DeviceEngine(model().problem, network, drivers=[CpuDriver()], precision="float16")
    for precision in ("float32", "bfloat16"):
        DeviceEngine(model().problem, network, drivers=[CpuDriver()], precision=precision)


@pytest.mark.parametrize("weights", ["realtime", "accurate"])
@pytest.mark.parametrize("rounds", [4, 9])
def test_streams_have_the_logits_of_whole_shots(gpu, weights, rounds) -> None:
    circuit = qec.memory_circuit(distance=3, rounds=rounds, basis="x", noise=qec.depolarizing(0.01))
    dem = circuit.detector_error_model(decompose_errors=True)
    problem, layers = DecodingProblem.from_dem(dem), LayeredDem.from_dem(dem)
    network = load_bundle(weights).network
    predecoder = StreamPredecoder(problem, network, policy=None, layers=layers, device="cuda")
    packed = sampled(circuit, 3)
    expected = TorchEngine(problem, network, device=CPU)(packed)
    kind, t, cell = np.unravel_index(
        problem.moves.positions, (3, problem.layout.shape[0], int(np.prod(problem.layout.shape[1:])))
    )
    for shot, logits in zip(packed, expected, strict=True):
        streamed = _streamed(predecoder, problem, shot).reshape(problem.layout.layers, 3, -1)
        np.testing.assert_array_equal(streamed[t, kind, cell], logits, strict=True)


def _streamed(predecoder: StreamPredecoder, problem: DecodingProblem, packed: np.ndarray) -> np.ndarray:
    """A shot's logits, layer by layer."""
    bits = np.unpackbits(packed, bitorder="little", count=problem.layout.num_detectors)
    logits, rows = predecoder.begin_logits(), []
    layer_of = problem.layout.voxels[:, 0]
    area = int(np.prod(problem.layout.shape[1:]))
    for t in range(problem.layout.layers):
        here = np.flatnonzero(layer_of == t)
        cells = problem.layout.flat_voxels[here] % area
        rows.append(logits.add(cells[bits[here] > 0], cells, last=t == problem.layout.layers - 1))
    return np.concatenate(rows)


def test_kinds_of_tiles_are_kept_and_not_too_many(random_network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predecoder.inference.tile_engine._KINDS", 2)
    engine = TileEngine(random_network(), CpuDriver(), precision="float32")
    rng = np.random.default_rng(1)
    grids = rng.integers(0, 2, (3, 2, 2, 4, 4), dtype=np.uint8)
    grids[:, 0] &= grids[:, 1]
    first = [engine(grid, None) for grid in grids]
    assert len(engine._engines) == 2
    for grid, logits in zip(grids, first, strict=True):
        np.testing.assert_array_equal(engine(grid, None), logits, strict=True)


def test_cuda_without_a_gpu_says_what_was_looked_for() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    for name in ("cuda", "cuda:3"):
        with pytest.raises(
            ValueError, match=rf"device '{name}' is not usable: .+; use 'auto' or 'cpu'$"
        ) as error:
            select_device(name)
        assert "\n" not in str(error.value)
    assert select_device("auto") == select_device("cpu") == CPU
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", " cuda", "cuda:1.5", "cuda:٣", ""):
        with pytest.raises(ValueError, match="is unknown; use 'auto', 'cpu', 'cuda' or one GPU: 'cuda:0'"):
            select_device(name)
    assert torch_status().reason is not None


def test_no_int8_on_devices(model, random_network) -> None:
    with pytest.raises(ValueError, match="float32, bfloat16 or float16"):
        DeviceEngine(model().problem, random_network(), drivers=[CpuDriver()], precision="int8")
