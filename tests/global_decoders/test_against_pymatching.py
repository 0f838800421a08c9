"""Decoders on the same shots as PyMatching and as each library's own Python API."""

import warnings

import numpy as np
import pymatching
import pytest

from global_decoders import decoder_names, is_available
from qec import normal_form

SHOTS = 2000


@pytest.fixture(scope="module", params=[3, 5], ids=["d=3", "d=5"])
def sampled(request, memory):
    circuit = memory(distance=request.param, rounds=request.param, p=0.006)
    detections, flips = circuit.compile_detector_sampler(seed=5).sample(SHOTS, separate_observables=True)
    # Libraries are given what the adapters give them; that Stim's own DEM is worse is shown elsewhere.
    return (
        normal_form(circuit.detector_error_model(decompose_errors=True)).dem,
        detections.astype(np.uint8),
        flips[:, 0],
    )


def predict(compiled, name, dem, detections) -> np.ndarray:
    packed = np.packbits(detections, axis=1, bitorder="little")
    return (
        compiled(name, dem).decode_shots_bit_packed(bit_packed_detection_event_data=packed)[:, 0].astype(bool)
    )


@pytest.mark.parametrize("correlated", [False, True])
def test_pymatching_adapter_equals_its_python_api_shot_for_shot(sampled, compiled, correlated):
    dem, detections, _ = sampled
    matching = pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated)
    expected = [matching.decode(shot, enable_correlations=correlated)[0] for shot in detections]
    name = "pymatching-correlated" if correlated else "pymatching"
    np.testing.assert_array_equal(predict(compiled, name, dem, detections), np.array(expected, dtype=bool))


def test_fusion_blossom_matches_with_pymatchings_weight(sampled):
    if not is_available("fusion-blossom"):
        pytest.skip("fusion-blossom: package not installed")
    from global_decoders.adapters.fusion_blossom import FusionBlossomMatcher

    dem, detections, _ = sampled
    edges = normal_form(dem).edges
    matcher = FusionBlossomMatcher(edges)
    matching = pymatching.Matching.from_detector_error_model(dem)
    weights, check = edges.weights(), edges.check_matrix()
    differing = 0
    for shot in detections:
        chosen = matcher.matched_edges(shot)
        np.testing.assert_array_equal(np.asarray(check[:, chosen].sum(axis=1)).ravel() % 2, shot)
        expected, weight = matching.decode(shot, return_weight=True)
        assert weights[chosen].sum() == pytest.approx(weight, abs=0.01)
        differing += int(edges.flips_of(chosen)[0] != expected[0])
    assert differing <= 0.002 * len(detections)  # ties, which weight rounding breaks differently


def test_belief_matching_equals_its_own_api(sampled, compiled):
    dem, detections, _ = sampled
    actual = predict(compiled, "belief-matching", dem, detections[:200])  # skips where not installed
    from beliefmatching import BeliefMatching

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This is the old syntax")
        own = BeliefMatching(dem)
    np.testing.assert_array_equal(actual, own.decode_batch(detections[:200])[:, 0])


# Failures may exceed PyMatching's on the same shots by this many standard deviations of the paired
# difference, sqrt(only ours failed + only PyMatching failed). Where the decoder is to win clearly at
# d = 5 (it won by 2.5 to 3.4 sigma), half a sigma is all the luck that a loss is given.
SLACK_SIGMAS = 3.0
CLEAR_WINNERS_AT_5 = {"belief-matching": 0.5, "bp-osd": 0.5, "tesseract": 0.5, "relay-bp": 0.5}
FEWER_SHOTS_AT_5 = {"mwpf": 200, "bp-osd": 1000}  # 33 and 6 ms a shot


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in decoder_names() if n != "pymatching"])
def test_fails_no_more_often_than_pymatching(name, sampled, compiled):
    dem, detections, flips = sampled
    slack = SLACK_SIGMAS
    if dem.num_detectors == 120:
        slack = CLEAR_WINNERS_AT_5.get(name, slack)
        shots = FEWER_SHOTS_AT_5.get(name, SHOTS)
        detections, flips = detections[:shots], flips[:shots]
    plain = predict(compiled, "pymatching", dem, detections) != flips
    other = predict(compiled, name, dem, detections) != flips
    worse, better = int((other & ~plain).sum()), int((plain & ~other).sum())
    assert worse - better <= slack * max(1.0, np.sqrt(worse + better)), (worse, better)
