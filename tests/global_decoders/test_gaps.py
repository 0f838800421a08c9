"""Gaps against exhaustive enumeration on small codes, and against PyMatching with the observable forced."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pymatching
import pytest
import sinter
import stim
from scipy.special import expit

import qec
from global_decoders import (
    NoGapError,
    decode_with_gap,
    decoder_names,
    is_available,
    make_decoder,
    require_gap,
)
from global_decoders.adapters.pymatching import PyMatchingDecoder
from global_decoders.matching import MatchingGaps, MatchingGraph
from qec import NormalForm, mechanisms, normal_form

from .conftest import without_ties

LEAST_CLOSE = {"bp-osd": 0.97, "bp-lsd": 0.6, "mwpf": 0.7, "tesseract": 0.999}
"""Decoders that look for the likeliest faults, and how often (by the syndromes' probability) they find those
of both classes at the very least."""
WITHOUT = ("relay-bp",)
WITH = tuple(name for name in decoder_names() if name not in WITHOUT)


def _on_exact(names: Iterable[str]) -> pytest.MarkDecorator:
    """Decoders on both exact models; mwpf takes seconds on the larger one."""
    cases = [
        pytest.param(rounds, name, marks=[pytest.mark.slow] if (rounds, name) == (2, "mwpf") else [])
        for rounds, name in itertools.product((1, 2), names)
    ]
    return pytest.mark.parametrize(("exact", "name"), cases, indirect=["exact"])


def _edges_alone(normal: NormalForm) -> stim.DetectorErrorModel:
    """The components of correlated matching's DEM, each an error by itself."""
    alone = stim.DetectorErrorModel()
    for mechanism in mechanisms(normal.decomposed_dem):
        for detectors, observables in mechanism.components:
            targets: list[object] = [*map(stim.target_relative_detector_id, detectors)]
            targets += map(stim.target_logical_observable_id, observables)
            alone.append("error", mechanism.probability, targets)
    return alone


def _likeliest(exact, count: int = 120) -> np.ndarray:
    """The likeliest syndromes of an exact model."""
    return np.argsort(-exact.syndrome_probability)[:count]


def _of_predictions(weights: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """From least weights of both classes (B, 2): what the class that was not predicted weighs more."""
    rows = np.arange(len(weights))
    return weights[rows, 1 - predictions] - weights[rows, predictions]


def test_a_matchings_gap_is_the_difference_of_the_least_weights_of_both_classes(exact, exact_of):
    """All syndromes of d = 3, by enumeration of all sets of edges; also where the prediction disagrees."""
    edges = exact_of(_edges_alone(normal_form(exact.dem))).edge_weight
    syndromes = np.flatnonzero(np.isfinite(edges).all(axis=1))[:: 1 if exact.dem.num_detectors == 8 else 16]
    decoder = PyMatchingDecoder(gap_scale=1.0).compile_decoder_for_dem(dem=exact.dem)
    predictions, gap = decode_with_gap(decoder, exact.packed[syndromes])
    expected = _of_predictions(edges[syndromes], predictions[:, 0])
    np.testing.assert_allclose(gap[:, 0], expected, atol=2e-3)
    scaled = PyMatchingDecoder(gap_scale=0.5).compile_decoder_for_dem(dem=exact.dem)
    np.testing.assert_allclose(decode_with_gap(scaled, exact.packed[syndromes]).gap, gap / 2, rtol=1e-5)


def _raw(name: str, dem: stim.DetectorErrorModel) -> sinter.CompiledDecoder:
    """A decoder whose gaps are not scaled."""
    if not is_available(name):
        pytest.skip(f"{name}: package not installed")
    return dataclasses.replace(cast(Any, make_decoder(name)), gap_scale=1.0).compile_decoder_for_dem(dem=dem)


@_on_exact(LEAST_CLOSE)
def test_a_searchs_gap_is_the_difference_of_the_likeliest_faults_of_both_classes(name, exact):
    """By enumeration of all sets of mechanisms. Searches may stop early, and BP's need not find the least."""
    decoder = _raw(name, exact.dem)
    syndromes = _likeliest(exact, 25 if name == "mwpf" else 120)  # mwpf is slow
    predictions, gap = decode_with_gap(decoder, exact.packed[syndromes])
    expected = _of_predictions(exact.fault_weight[syndromes], predictions[:, 0])
    weight = exact.syndrome_probability[syndromes]
    close = np.abs(gap[:, 0] - expected) < 1e-3
    assert weight[close].sum() / weight.sum() > LEAST_CLOSE[name]


@_on_exact(WITH)
def test_a_gap_says_how_likely_the_prediction_is_wrong(name, exact, compiled):
    """Against the exact posterior of every likely syndrome: on average, and over all syndromes."""
    syndromes = _likeliest(exact, 25 if name == "mwpf" else 120)  # mwpf is slow
    predictions, gap = decode_with_gap(compiled(name, exact.dem), exact.packed[syndromes])
    weight = exact.syndrome_probability[syndromes] / exact.syndrome_probability[syndromes].sum()
    posterior = exact.joint[syndromes, 1 - predictions[:, 0]] / exact.syndrome_probability[syndromes]
    said = expit(-gap[:, 0].astype(float))
    most = 0.04 if name == "belief-matching" else 0.02  # marginals on cycles are the roughest
    assert weight @ np.abs(said - posterior) < most
    assert weight @ said == pytest.approx(weight @ posterior, abs=0.012)


def _forced(graph: MatchingGraph, weights: np.ndarray) -> pymatching.Matching:
    """PyMatching with one more detector, on which boundary edges end that flip the observable."""
    forced, boundary = graph.num_detectors, graph.num_detectors + 1
    matching = pymatching.Matching()
    for (a, b), weight, flips in zip(graph.ends.T.tolist(), weights, graph.flips(0), strict=True):
        other = b if b >= 0 else (forced if flips else boundary)
        assert b < 0 or not flips
        matching.add_edge(a, other, weight=float(weight), merge_strategy="smallest-weight")
    matching.set_boundary_nodes({boundary})
    return matching


def _classes(graph: MatchingGraph, weights: np.ndarray, bits: np.ndarray) -> np.ndarray:
    matching = _forced(graph, weights)
    return np.array([matching.decode(np.append(bits, k), return_weight=True)[1] for k in (0, 1)])


def _implied(graph: MatchingGraph, bits: np.ndarray) -> np.ndarray:
    """Weights of the second matching, from the edges of a first one that PyMatching finds."""
    matching = pymatching.Matching()
    number = {}
    for k, (a, b) in enumerate(graph.ends.T.tolist()):
        other = b if b >= 0 else graph.num_detectors
        number[frozenset((a, other))] = k
        matching.add_edge(a, other, weight=float(graph.weights[k]))
    matching.set_boundary_nodes({graph.num_detectors})
    weights, implied = graph.weights.copy(), graph.implied
    assert implied is not None
    for a, b in matching.decode_to_edges_array(bits):
        edge = number[frozenset((a, b if b >= 0 else graph.num_detectors))]
        of_edge = slice(implied.starts[edge], implied.starts[edge + 1])
        np.minimum.at(weights, implied.edges[of_edge], implied.weights[of_edge])
    return weights


@pytest.mark.parametrize("correlated", [False, True])
def test_gaps_are_those_of_pymatching_with_the_observable_forced(correlated):
    circuit = qec.memory_circuit(distance=5, rounds=4, basis="x", noise=qec.depolarizing(0.008))
    dem = without_ties(circuit.detector_error_model(decompose_errors=True))
    graph = MatchingGraph.of_normal_form(normal_form(dem), correlated=correlated, decomposed=True)
    detections = np.asarray(circuit.compile_detector_sampler(seed=8).sample(60))
    packed = np.packbits(detections, axis=1, bitorder="little")
    decoder = PyMatchingDecoder(correlated=correlated, gap_scale=1.0).compile_decoder_for_dem(dem=dem)
    predictions, gap = decode_with_gap(decoder, packed)
    for bits, predicted, found in zip(detections.astype(np.uint8), predictions[:, 0], gap[:, 0], strict=True):
        weights = _classes(graph, _implied(graph, bits) if correlated else graph.weights, bits)
        assert found == pytest.approx(weights[1 - predicted] - weights[predicted], abs=0.02)


TWO = """
    error(0.1) D0 L0
    error(0.02) D0 D1 L1
    error(0.15) D1
    error(1) D1 L1
"""
"""Two observables, and a detector that always fires."""


@pytest.mark.parametrize("name", WITH)
def test_predictions_are_those_without_gaps_for_each_observable(name, exact_of):
    dem = stim.DetectorErrorModel(TWO)
    if name in ("pymatching", "pymatching-correlated", "fusion-blossom", "belief-matching"):
        # An edge between detectors that flips an observable closes a cycle for it: D0, D1, the boundary.
        dem = stim.DetectorErrorModel(TWO.replace("D0 D1 L1", "D0 D1"))
    decoder = _raw(name, dem)
    shots = np.arange(4, dtype=np.uint8)[:, None]
    predictions, gap = decode_with_gap(decoder, shots)
    expected = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=shots)
    np.testing.assert_array_equal(predictions, expected)
    assert gap.shape == (4, 2)
    assert gap.dtype == np.float32
    assert decode_with_gap(decoder, shots).of_shots.tolist() == gap.min(axis=1).tolist()
    for k in range(2) if name in LEAST_CLOSE else ():
        lines = str(dem).replace("error(1) D1 L1", "").replace(f" L{1 - k}", "").replace(f"L{k}", "L0")
        weights = exact_of(stim.DetectorErrorModel(lines)).fault_weight[shots[:, 0] ^ 2]
        certain = k  # D1 and L1 always flip
        np.testing.assert_allclose(
            gap[:, k], _of_predictions(weights, ((predictions[:, 0] >> k) & 1) ^ certain), atol=1e-3
        )


def test_an_observable_that_nothing_flips_is_sure():
    dem = stim.DetectorErrorModel("error(0.1) D0\nlogical_observable L0")
    for name in WITH:
        if not is_available(name):
            continue
        decoder = make_decoder(name).compile_decoder_for_dem(dem=dem)
        assert decode_with_gap(decoder, np.array([[0], [1]], dtype=np.uint8)).gap.tolist() == [[np.inf]] * 2


@pytest.mark.parametrize("correlated", [False, True])
def test_gaps_up_to_a_limit_have_it_exactly(memory, correlated):
    """3 / 0.9 times 0.9 in float32 is 2.9999998, which is below 3: all shots would seem doubtful."""
    dem = memory(distance=3, rounds=3, p=0.01).detector_error_model(decompose_errors=True)
    packed, _, _ = dem.compile_sampler(seed=6).sample(200, bit_packed=True)
    gaps = MatchingGaps(normal_form(dem), correlated=correlated, scale=0.9)
    everything, limited = gaps.log_odds(packed), gaps.log_odds(packed, limit=3.0)
    beyond = np.abs(everything) > 3.001
    assert 20 < beyond.sum() < 200
    assert np.array_equal(np.abs(limited[beyond]), np.full(beyond.sum(), 3.0, dtype=np.float32))
    np.testing.assert_allclose(limited, np.clip(everything, -3, 3), atol=1e-5)


def test_decoders_without_a_gap_say_so(compiled):
    dem = stim.DetectorErrorModel("error(0.1) D0 L0\nerror(0.1) D0 D1\nerror(0.1) D1")
    for name in WITHOUT:
        with pytest.raises(NoGapError, match=r"does not say how sure it is; decoders with a gap are neural-"):
            require_gap(compiled(name, dem), num_detectors=2)
    cycle = stim.DetectorErrorModel("error(0.1) D0 D1 L0\nerror(0.1) D1 D2\nerror(0.1) D0 D2\nerror(0.1) D0")
    with pytest.raises(NoGapError, match=r"matching has no gap for L0 of this DEM: .* cycle"):
        require_gap(make_decoder("pymatching").compile_decoder_for_dem(dem=cycle), num_detectors=3)
    require_gap(make_decoder("pymatching").compile_decoder_for_dem(dem=dem), num_detectors=2)


@pytest.mark.parametrize("name", ["pymatching", "pymatching-correlated", "belief-matching"])
def test_edges_between_stabilizer_types_that_are_as_likely_as_their_parts_are_taken_apart(
    name, memory, compiled
):
    """Stim's circuits with noise after gates alone have such edges in their first and last rounds."""
    circuit = stim.Circuit.generated(
        "surface_code:rotated_memory_z", distance=3, rounds=3, after_clifford_depolarization=0.02
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    shots, flips = circuit.compile_detector_sampler(seed=4).sample(
        300, separate_observables=True, bit_packed=True
    )
    found = decode_with_gap(compiled(name, dem), shots)
    wrong = (found.predictions != flips).any(axis=1).mean()
    assert 0.03 < wrong < 0.2
    assert expit(-found.of_shots.astype(float)).mean() == pytest.approx(wrong, abs=0.03)
