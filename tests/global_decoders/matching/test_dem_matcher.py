"""Matchings of DEMs, plain and correlated, weigh and predict what PyMatching finds."""

import numpy as np
import pymatching
import pytest
import stim

import qec
from global_decoders.matching import Matcher, MatchingGraph
from qec import NormalForm, normal_form

from ..conftest import without_ties


def _circuit(distance: int, *, rounds: int | None = None, p: float = 0.006) -> stim.Circuit:
    return qec.memory_circuit(
        distance=distance, rounds=rounds or distance, basis="x", noise=qec.depolarizing(p)
    )


def _normal(circuit: stim.Circuit) -> NormalForm:
    return normal_form(circuit.detector_error_model(decompose_errors=True))


def _sampled(circuit: stim.Circuit, shots: int, *, seed: int) -> np.ndarray:
    sampler = circuit.compile_detector_sampler(seed=seed)
    return sampler.sample(shots, separate_observables=True, bit_packed=True)[0]


def _pymatching(normal: NormalForm, packed: np.ndarray, *, correlated: bool) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and weights."""
    dem = normal.correlated_dem if correlated else normal.matching_dem
    matching = pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated)
    return matching.decode_batch(
        packed,
        bit_packed_shots=True,
        bit_packed_predictions=True,
        return_weights=True,
        enable_correlations=correlated,
    )


def _compared(normal: NormalForm, packed: np.ndarray, *, correlated: bool) -> tuple[np.ndarray, np.ndarray]:
    """Shots with the same prediction as PyMatching's, and those with the same weight."""
    expected, weights = _pymatching(normal, packed, correlated=correlated)
    matcher = Matcher(MatchingGraph.of_normal_form(normal, correlated=correlated))
    found = matcher.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    weight = matcher.match(packed).weight
    return (found == expected).all(axis=1), np.isclose(weight, weights, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize(("distance", "shots"), [(3, 4000), (5, 2000)])
def test_without_ties_every_shot_is_as_in_pymatching(distance, shots, correlated):
    circuit = _circuit(distance)
    normal = normal_form(without_ties(circuit.detector_error_model(decompose_errors=True)))
    predictions, weights = _compared(normal, _sampled(circuit, shots, seed=5), correlated=correlated)
    assert predictions.all()
    assert weights.all()


@pytest.mark.slow
@pytest.mark.parametrize("distance", [3, 5, 7])
def test_with_ties_many_shots_are_as_in_pymatching(distance):
    """Plain matchings weigh the same. First matchings that do may imply other weights for the second."""
    circuit = _circuit(distance)
    normal, packed = _normal(circuit), _sampled(circuit, 20_000, seed=5)
    predictions, weights = _compared(normal, packed, correlated=False)
    assert predictions.mean() > 0.9995
    assert weights.all()
    predictions, weights = _compared(normal, packed, correlated=True)
    assert predictions.mean() > 0.998
    assert weights.mean() > 0.9


def test_gaps_say_what_is_predicted():
    """Of both kinds: the sign is the prediction's, the size what the other class weighs more."""
    circuit = _circuit(5)
    packed = _sampled(circuit, 500, seed=6)
    for correlated in (False, True):
        graph = MatchingGraph.of_normal_form(_normal(circuit), correlated=correlated, decomposed=True)
        matcher = Matcher(graph)
        gap = matcher.gap(packed)
        predicted = matcher.decode_shots_bit_packed(bit_packed_detection_event_data=packed)[:, 0]
        sure = np.abs(gap) > 1e-3
        assert sure.mean() > 0.95
        assert np.array_equal(predicted[sure] == 1, gap[sure] < 0)
        zero, one, weights = matcher.classes(packed)
        np.testing.assert_allclose(weights[:, 1] - weights[:, 0], gap, atol=1e-3)
        best = np.where((gap < 0)[:, None], one, zero)
        assert np.array_equal(best[sure], matcher.match(packed).edges[sure])
        np.testing.assert_allclose(matcher.gap(packed, limit=3.0), np.clip(gap, -3, 3), atol=1e-5)


def test_gaps_under_y_errors_that_are_likelier_than_x_and_z_errors():
    """A corner's Y error is two edges all the same: PyMatching with the observable forced agrees."""
    circuit = stim.Circuit(
        str(_circuit(3)).replace("DEPOLARIZE1(0.006)", "PAULI_CHANNEL_1(0.0005, 0.02, 0.0005)")
    )
    normal, packed = _normal(circuit), _sampled(circuit, 200, seed=8)
    assert normal.decomposed_dem != normal.correlated_dem
    forced = stim.DetectorErrorModel(
        str(normal.decomposed_dem.flattened()).replace("L0", f"D{circuit.num_detectors}")
    )
    matching = pymatching.Matching.from_detector_error_model(forced)
    shots = np.unpackbits(packed, axis=1, count=circuit.num_detectors, bitorder="little")
    weights = [
        matching.decode_batch(np.column_stack([shots, np.full(len(shots), flipped)]), return_weights=True)[1]
        for flipped in (0, 1)
    ]
    gap = Matcher(MatchingGraph.of_normal_form(normal, decomposed=True)).gap(packed)
    np.testing.assert_allclose(gap, weights[1] - weights[0], atol=1e-2)


def test_classes_of_edges_with_y_errors_in_one_piece_are_refused():
    matcher = Matcher(MatchingGraph.of_normal_form(_normal(_circuit(3))))
    with pytest.raises(ValueError, match="closes a cycle of edges between detectors"):
        matcher.gap(np.zeros((1, 3), dtype=np.uint8))


def test_weights_of_every_shot_count_instead_of_the_graphs():
    circuit = _circuit(3)
    graph = MatchingGraph.of_normal_form(_normal(circuit))
    packed = _sampled(circuit, 50, seed=7)
    plain = Matcher(graph).match(packed)
    alike = Matcher(graph).match(packed, np.tile(graph.weights, (50, 1)))
    np.testing.assert_allclose(alike.weight, plain.weight, atol=1e-4)
    doubled = Matcher(graph).match(packed, np.tile(2 * graph.weights, (50, 1)))
    np.testing.assert_allclose(doubled.weight, 2 * plain.weight, atol=1e-4)


def test_implied_weights_by_hand():
    """D0-D1 and D2-D3 fire together with 0.1, each alone with 0.05 and 0.2."""
    dem = stim.DetectorErrorModel("error(0.1) D0 D1 ^ D2 D3 L0\nerror(0.05) D0 D1\nerror(0.2) D2 D3 L0")
    graph = MatchingGraph.of_normal_form(normal_form(dem), correlated=True)
    assert graph.ends.T.tolist() == [[0, 1], [2, 3]]
    first, second = 0.1 * 0.95 + 0.9 * 0.05, 0.1 * 0.8 + 0.9 * 0.2
    np.testing.assert_allclose(graph.weights, [np.log((1 - p) / p) for p in (first, second)], rtol=1e-6)
    assert graph.implied is not None
    assert graph.implied.starts.tolist() == [0, 1, 2]
    assert graph.implied.edges.tolist() == [1, 0]
    conditional = np.array([min(0.5, 0.1 / first), 0.1 / second])
    expected = np.log((1 - conditional) / conditional)
    np.testing.assert_allclose(graph.implied.weights, expected, rtol=1e-5, atol=1e-7)
    assert graph.flips(0).tolist() == [0, 1]
    with pytest.raises(ValueError, match="L1 is not one of 1"):
        graph.flips(1)


def test_what_cannot_be_matched_is_refused():
    dem = stim.DetectorErrorModel("error(0.1) D0 D1 D2")
    for correlated in (False, True):
        with pytest.raises(ValueError, match="an error flips D0 D1 D2 in one component"):
            MatchingGraph.of_normal_form(normal_form(dem), correlated=correlated)
    matcher = Matcher(MatchingGraph.of_normal_form(normal_form(stim.DetectorErrorModel("error(0.1) D0 D1"))))
    with pytest.raises(ValueError, match="shot 1: no edges explain its detections"):
        matcher.decode_shots_bit_packed(bit_packed_detection_event_data=np.array([[3], [1]], dtype=np.uint8))
    with pytest.raises(ValueError, match="need bit-packed uint8"):
        matcher.decode_shots_bit_packed(bit_packed_detection_event_data=np.zeros((1, 2), dtype=np.uint8))
