"""`neural-matching` explains every shot by itself, in sinter too, with any engine."""

import numpy as np
import pytest
import sinter
import torch

import predecoder
import qec
from global_decoders import UnexplainedShotsError, decode_with_gap, make_decoder
from global_decoders.windows import WindowSizes
from predecoder import CompiledNeuralMatching, CompiledPredecoded, NeuralMatchingDecoder
from predecoder.correction import MatchingDecision
from predecoder.inference import EngineOptions, NativeEngine

from .conftest import collected


@pytest.fixture(scope="module")
def weights(tmp_path_factory, separable_network):
    """A weights file with random weights, of the kind that C++ runs."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    predecoder.save_weights(separable_network(), path, {})
    return path


def _decoded(compiled: sinter.CompiledDecoder, packed: np.ndarray) -> np.ndarray:
    return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)


def test_it_is_the_matching_with_nothing_left_for_pymatching(model, weights):
    m = model(5, 4, "z")
    packed = m.circuit.compile_detector_sampler(seed=3).sample(80, bit_packed=True)
    compiled = NeuralMatchingDecoder(weights=weights, device="cpu").compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledNeuralMatching)
    network = predecoder.load_network(weights)
    behind = CompiledPredecoded(
        *(m.problem, network, make_decoder("pymatching").compile_decoder_for_dem(dem=m.dem)),
        decision=MatchingDecision(m.problem),
        options=EngineOptions("cpu"),
    )
    assert not behind.decode_to_residual(packed)[0].any()
    assert np.array_equal(_decoded(compiled, packed), _decoded(behind, packed))


def test_in_torch_the_answers_are_the_same(model, separable_network, monkeypatch):
    m, network = model(5, 3), separable_network(4)
    packed = m.circuit.compile_detector_sampler(seed=4).sample(60, bit_packed=True)
    native = _decoded(CompiledNeuralMatching(m.problem, network, EngineOptions("cpu")), packed)
    monkeypatch.setattr(NativeEngine, "runs", staticmethod(lambda *_: False))
    in_torch = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu"))
    assert np.array_equal(native, _decoded(in_torch, packed))


def test_the_gap_says_what_is_predicted_and_how_surely(model, separable_network):
    m, network = model(5, 3), separable_network(6)
    packed = m.circuit.compile_detector_sampler(seed=6).sample(60, bit_packed=True)
    compiled = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu"))
    gap = compiled.log_odds(packed)[:, 0]
    sure = np.abs(gap) > 1e-3
    assert sure.sum() > 40
    assert np.array_equal(_decoded(compiled, packed)[sure, 0] == 1, gap[sure] < 0)
    np.testing.assert_allclose(compiled.log_odds(packed, limit=1.0)[:, 0], np.clip(gap, -1, 1), atol=1e-5)
    scaled = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu"), gap_scale=0.5)
    np.testing.assert_allclose(scaled.log_odds(packed)[:, 0], gap / 2, rtol=1e-6)
    np.testing.assert_allclose(scaled.log_odds(packed, limit=1.0)[:, 0], np.clip(gap / 2, -1, 1), atol=1e-5)
    rounded = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu"), gap_scale=0.9)
    assert np.abs(rounded.log_odds(packed, limit=3 / 16)).max() == 3 / 16  # 0.9 float32(3 / 0.9) is below 3
    with pytest.raises(ValueError, match="uint8"):
        compiled.log_odds(packed[:, :-1])


def test_one_shot_is_decoded_as_in_a_batch(model, weights):
    m = model(3, 4)
    packed = m.circuit.compile_detector_sampler(seed=5).sample(40, bit_packed=True)
    compiled = NeuralMatchingDecoder(weights=weights, device="cpu").compile_decoder_for_dem(dem=m.dem)
    assert np.array_equal(_decoded(compiled, packed), [_decoded(compiled, shot[None])[0] for shot in packed])
    assert _decoded(compiled, packed[:0]).shape == (0, 1)


def test_runs_in_sinter_workers_after_pickling(model, weights):
    m = model(3, 3)
    stats = collected(NeuralMatchingDecoder(weights=weights, threads=1), m.circuit)
    assert stats.shots == 300
    assert stats.errors > 0


def test_a_detector_that_nothing_flips_cannot_be_explained(random_network):
    """After a last round without noise its detectors never fire, in data of this model."""
    circuit = qec.memory_circuit(
        distance=3, rounds=3, basis="x", noise=qec.depolarizing(0.01), perfect_last_round=True
    )
    problem = qec.DecodingProblem.from_circuit(circuit)
    compiled = CompiledNeuralMatching(problem, random_network(), EngineOptions("cpu"))
    shots = np.zeros((4, problem.layout.num_detectors), dtype=np.uint8)
    never = int(np.flatnonzero(problem.layout.deterministic)[0])
    shots[2, never] = 1
    packed = np.packbits(shots, axis=1, bitorder="little")
    with pytest.raises(UnexplainedShotsError, match=f"shot 2: nothing explains detector D{never}") as raised:
        _decoded(compiled, packed)
    assert raised.value.shots.tolist() == [2]
    by_eight = CompiledNeuralMatching(problem, random_network(), EngineOptions("cpu", batch_shots=1))
    with pytest.raises(UnexplainedShotsError, match=f"shot 12: nothing explains detector D{never}"):
        decode_with_gap(by_eight, np.concatenate([packed[:2]] * 5 + [packed]))


def test_wrong_widths_and_bad_arguments_are_named(model, weights):
    m = model(3, 3)
    compiled = NeuralMatchingDecoder(weights=weights, device="cpu").compile_decoder_for_dem(dem=m.dem)
    with pytest.raises(ValueError, match=r"expected uint8 \(shots, 3\)"):
        _decoded(compiled, np.zeros((2, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match="on_mismatch='maybe'"):
        NeuralMatchingDecoder(weights=weights, on_mismatch="maybe")  # pyright: ignore[reportArgumentType]


def test_predictions_with_gaps_are_those_without(model, separable_network, weights):
    """Also of more shots than go through the network at a time, and in windows."""
    m, network = model(3, 4), separable_network(6)
    packed = m.circuit.compile_detector_sampler(seed=7).sample(100, bit_packed=True)
    compiled = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu", batch_shots=4), gap_scale=0.7)
    predictions, gap = decode_with_gap(compiled, packed)
    assert np.array_equal(predictions, _decoded(compiled, packed))
    log_odds = compiled.log_odds(packed)[:, 0]
    np.testing.assert_allclose(gap[:, 0], np.where(predictions[:, 0], -log_odds, log_odds), atol=1e-6)
    in_windows = NeuralMatchingDecoder(
        weights=weights, device="cpu", windows=WindowSizes(commit=1, buffer=1, mode="sliding")
    )
    windowed = in_windows.compile_decoder_for_dem(dem=m.dem)
    assert np.array_equal(decode_with_gap(windowed, packed).predictions, _decoded(windowed, packed))


def test_of_two_equal_classes_the_prediction_is_that_without_gaps(model, separable_network):
    """A network that says nothing: all logits are equal, and ties are everywhere."""
    m, network = model(3, 3), separable_network(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.head.bias.fill_(-2.0)
    packed = m.circuit.compile_detector_sampler(seed=8).sample(300, bit_packed=True)
    compiled = CompiledNeuralMatching(m.problem, network, EngineOptions("cpu"))
    predictions, gap = decode_with_gap(compiled, packed)
    assert (gap == 0).sum() > 10
    assert np.array_equal(predictions, _decoded(compiled, packed))


def test_a_pre_decoded_shot_is_as_sure_as_the_decoder_behind(model, weights):
    m = model(3, 3)
    packed = m.circuit.compile_detector_sampler(seed=9).sample(60, bit_packed=True)
    pymatching = make_decoder("pymatching")
    compiled = predecoder.PredecodedDecoder(pymatching, weights=weights).compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledPredecoded)
    predictions, gap = decode_with_gap(compiled, packed)
    residual, flips = compiled.decode_to_residual(packed)
    behind = decode_with_gap(pymatching.compile_decoder_for_dem(dem=m.dem), residual)
    assert np.array_equal(predictions, behind.predictions ^ flips)
    np.testing.assert_array_equal(gap, behind.gap)
    assert np.array_equal(predictions, _decoded(compiled, packed))
