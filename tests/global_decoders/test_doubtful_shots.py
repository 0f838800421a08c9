"""Of simulated shots, doubtful ones and a share of the others count for all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import stim

import qec
from global_decoders import DoubtfulShots, decode_with_gap, make_decoder
from global_decoders.adapters.pymatching import PyMatchingDecoder


@pytest.fixture(scope="module")
def circuit() -> stim.Circuit:
    return qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.01))


def test_doubtful_shots_are_those_of_a_small_plain_gap(circuit: stim.Circuit) -> None:
    """By the gaps of the decoder `pymatching`, whose classes are found without a limit."""
    dem = circuit.detector_error_model(decompose_errors=True)
    packed, _ = circuit.compile_detector_sampler(seed=1).sample(
        2_000, separate_observables=True, bit_packed=True
    )
    decoder = PyMatchingDecoder(gap_scale=1.0).compile_decoder_for_dem(dem=dem)
    gaps = np.abs(decode_with_gap(decoder, packed).gap[:, 0])
    chosen = DoubtfulShots(qec.normal_form(dem), plain_gap=5.0, share=7).choose(packed)
    np.testing.assert_array_equal(chosen.doubtful, np.flatnonzero(gaps < 5.0))
    np.testing.assert_array_equal(chosen.others, np.flatnonzero(gaps >= 5.0)[::7])
    np.testing.assert_array_equal(chosen.numbers, [*chosen.doubtful, *chosen.others])
    assert chosen.weights.sum() == pytest.approx(2_000)
    assert 0 < len(chosen.others) < len(chosen.doubtful) < 2_000


def test_few_decoded_shots_tell_the_error_rate_of_all(circuit: stim.Circuit) -> None:
    dem = circuit.detector_error_model(decompose_errors=True)
    packed, flips = circuit.compile_detector_sampler(seed=2).sample(
        40_000, separate_observables=True, bit_packed=True
    )
    decoder = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=dem)
    wrong = (decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed) != flips).any(axis=1)
    chosen = DoubtfulShots(qec.normal_form(dem), plain_gap=3.0, share=4).choose(packed)
    assert len(chosen.numbers) < 0.6 * len(packed)
    estimate = chosen.weights @ wrong[chosen.numbers]
    others = np.setdiff1d(np.flatnonzero(wrong), chosen.doubtful)
    assert len(others) > 10  # some are wrong though plain matching is sure of them, and count four times
    assert estimate == pytest.approx(wrong.sum(), abs=4 * math.sqrt(3 * len(others)))


def test_without_classes_or_a_limit_all_shots_are_doubtful(circuit: stim.Circuit) -> None:
    """On a ring every cycle of edges flips the observable, so that plain matching has no gap."""
    ring = stim.DetectorErrorModel("error(0.1) D0 D1 L0\nerror(0.1) D1 D2\nerror(0.1) D2 D0")
    hyperedge = stim.DetectorErrorModel("error(0.1) D0 D1 D2 L0")
    packed = np.zeros((20, 1), dtype=np.uint8)
    for dem in (ring, hyperedge):
        chosen = DoubtfulShots(qec.normal_form(dem)).choose(packed)
        assert (len(chosen.doubtful), len(chosen.others), chosen.weights.sum()) == (20, 0, 20)
    normal = qec.normal_form(circuit.detector_error_model(decompose_errors=True))
    none = np.zeros((20, -(-normal.num_detectors // 8)), dtype=np.uint8)
    assert len(DoubtfulShots(normal, plain_gap=math.inf).choose(none).doubtful) == 20
    assert len(DoubtfulShots(normal).choose(none).doubtful) == 0
    with pytest.raises(ValueError, match="plain_gap=0"):
        DoubtfulShots(normal, plain_gap=0)
    with pytest.raises(ValueError, match="share=0"):
        DoubtfulShots(normal, share=0)
