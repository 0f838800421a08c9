"""`neural-ensemble` takes the mean of several gaps where the first one is small, and only there."""

import pickle
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import predecoder
from global_decoders import decode_with_gap, make_decoder
from predecoder import CompiledNeuralEnsemble, CompiledNeuralMatching, NeuralEnsembleDecoder, WeightsError
from predecoder.inference import EngineOptions
from qec import DecodingProblem

CPU = torch.device("cpu")


@pytest.fixture
def weights(tmp_path, separable_network):
    """Two files with random weights."""
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, path in enumerate(paths):
        predecoder.save_weights(separable_network(seed), path, {})
    return paths


def _parts(m, packed: np.ndarray, path, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """A network's gaps of shots seen forwards and backwards."""
    network = predecoder.load_network(path)
    turned = DecodingProblem.from_normal_form(m.problem.normal, backwards=True)
    there, back = (
        CompiledNeuralMatching(p, network, EngineOptions(CPU)).gap(packed, limit=limit)
        for p in (m.problem, turned)
    )
    return there, back


def test_gaps_are_the_mean_of_their_parts_where_the_first_is_small(model, weights):
    m = model(3, 4, "z")
    packed, _ = m.circuit.compile_detector_sampler(seed=3).sample(
        300, separate_observables=True, bit_packed=True
    )
    decoder = NeuralEnsembleDecoder(
        weights=weights[0], opinions=weights[1:], doubtful=1.5, vote=0.7, device="cpu"
    )
    compiled = decoder.compile_decoder_for_dem(dem=m.dem)
    assert isinstance(compiled, CompiledNeuralEnsemble)
    parts = [gap for path in weights for gap in _parts(m, packed, path, 1.5)]
    correlated = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=m.dem)
    said, sure = decode_with_gap(correlated, packed)
    vote = 0.7 * np.clip(np.where(said[:, 0], -sure[:, 0], sure[:, 0]), -1.5, 1.5)
    doubtful = np.abs(parts[0]) < 1.5
    assert 0 < doubtful.sum() < len(packed)
    expected = np.where(doubtful, np.mean(parts, axis=0) + vote, parts[0])
    assert compiled.gaps(packed)[:, 0] == pytest.approx(expected, abs=1e-4)
    predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert np.array_equal(predicted[:, 0], expected < 0)
    found = decode_with_gap(compiled, packed)
    assert np.array_equal(found.predictions, predicted)
    unlimited = np.where(doubtful, expected, _parts(m, packed, weights[0], np.inf)[0])
    assert found.gap[:, 0] == pytest.approx(np.where(predicted[:, 0], -unlimited, unlimited), abs=1e-4)
    assert "doubtful 1.5, b@" in decoder.policy


class _Known:
    """Gaps of two observables that are known, the same for every shot."""

    layout = SimpleNamespace(num_detectors=8, num_observables=2)

    def __init__(self, *gaps: float) -> None:
        self._gaps = gaps

    def gap(self, packed: np.ndarray, *, observable: int, limit: float) -> np.ndarray:
        return np.full(len(packed), np.clip(self._gaps[observable], -limit, limit))


def test_an_observable_that_is_not_doubted_counts_the_same_with_and_without_gaps():
    first, backwards, other = (cast("Any", _Known(a, b)) for a, b in ((0.5, 20.0), (0.5, -9.0), (0.5, -9.0)))
    compiled = CompiledNeuralEnsemble(first, [backwards, other], correlated=None, doubtful=3.0, vote=0.0)
    shots = np.zeros((2, 1), dtype=np.uint8)
    assert compiled.gaps(shots) == pytest.approx(np.array([[0.5, -1.0]] * 2))
    found = decode_with_gap(compiled, shots)
    predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=shots)
    assert found.predictions.tolist() == predicted.tolist() == [[2], [2]]
    assert found.gap == pytest.approx(np.array([[0.5, 1.0]] * 2))


def test_without_doubt_it_is_neural_matching(model, weights):
    m = model(5, 3)
    packed = m.circuit.compile_detector_sampler(seed=4).sample(100, bit_packed=True)
    sure = NeuralEnsembleDecoder(weights=weights[0], doubtful=0, vote=0, device="cpu")
    matching = CompiledNeuralMatching(m.problem, predecoder.load_network(weights[0]), EngineOptions(CPU))
    assert np.array_equal(
        sure.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(
            bit_packed_detection_event_data=packed
        ),
        matching.decode_shots_bit_packed(bit_packed_detection_event_data=packed),
    )


def test_a_copy_decodes_alike_and_changed_weights_are_refused(model, weights, separable_network):
    m = model(3, 3)
    packed = m.circuit.compile_detector_sampler(seed=5).sample(50, bit_packed=True)
    decoder = NeuralEnsembleDecoder(weights=weights[0], opinions=weights[1:], device="cpu")
    copy = pickle.loads(pickle.dumps(decoder))
    predictions = [
        d.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        for d in (decoder, copy)
    ]
    assert np.array_equal(*predictions)
    predecoder.save_weights(separable_network(7), weights[1], {})
    with pytest.raises(WeightsError, match="changed"):
        copy.compile_decoder_for_dem(dem=m.dem)


@pytest.mark.parametrize("wrong", [{"doubtful": -1.0}, {"vote": float("nan")}])
def test_nats_and_weights_are_not_negative(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}=.*a number from 0 on"):
        NeuralEnsembleDecoder(**wrong)


@pytest.mark.slow
def test_second_opinions_remove_failures(model):
    """d = 5, p = 0.006, the same 16,384 shots: 351 failures become 320 (seeds of no table)."""
    m = model(5, 5)
    packed, truth = m.circuit.compile_detector_sampler(seed=6).sample(
        16_384, separate_observables=True, bit_packed=True
    )
    failures = {}
    for doubtful in (0.0, 3.0):
        decoder = NeuralEnsembleDecoder(weights="realtime-matching", doubtful=doubtful, device="cpu")
        predicted = decoder.compile_decoder_for_dem(dem=m.dem).decode_shots_bit_packed(
            bit_packed_detection_event_data=packed
        )
        failures[doubtful] = int((predicted != truth).any(axis=1).sum())
    assert failures[3.0] < failures[0.0], failures
