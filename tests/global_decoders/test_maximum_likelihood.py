"""Every decoder against exact answers on d = 3, over all likely syndromes; no sampling."""

import itertools

import numpy as np
import pymatching
import pytest
import stim

from global_decoders import decoder_names

# Syndromes rarer than this are left out: 221 (2,940) remain with 99.98% (97.0%) of all shots.
FLOOR = 1e-5

# Logical error rate over the maximum-likelihood one, at p = 0.01, for 1 and 2 rounds. A matcher on
# one basis loses 3% to degeneracy; on two it also loses the correlations that BP, the second pass
# or the hypergraph recover.
LARGEST_RATIO = {
    "pymatching": (1.035, 1.09),
    "pymatching-correlated": (1.035, 1.08),
    "belief-matching": (1.035, 1.06),
    "fusion-blossom": (1.035, 1.09),
    "bp-osd": (1.02, 1.03),
    "bp-lsd": (1.045, 1.07),
    "mwpf": (1.02, 1.02),
    "tesseract": (1.02, 1.02),
    "relay-bp": (1.025, 1.035),
    "trellis": (1.000001, 1.000001),  # by far the largest part of the sums is in the beam
}
# Beyond this posterior a decoder never contradicts maximum likelihood.
DECISIVE = 0.93


def likely(exact) -> np.ndarray:
    return np.flatnonzero(exact.syndrome_probability > FLOOR)


def predictions(decoder, packed: np.ndarray) -> np.ndarray:
    flips = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    assert flips.dtype == np.uint8
    assert flips.shape == (len(packed), 1)
    return flips[:, 0]


def test_every_decoder_has_a_bound():
    assert set(LARGEST_RATIO) == set(decoder_names())


def test_reference_is_a_distribution_and_matches_stim_sampling(exact, memory):
    assert exact.joint.sum() == pytest.approx(1, abs=1e-9)
    detections, observables, _ = exact.dem.compile_sampler(seed=3).sample(50_000)
    index = detections @ (1 << np.arange(exact.dem.num_detectors))
    sampled = np.zeros_like(exact.joint)
    np.add.at(sampled, (index, observables[:, 0].astype(int)), 1 / len(index))
    probable = exact.joint > 1e-3
    sigma = np.sqrt(exact.joint[probable] / len(index))
    assert np.abs(sampled - exact.joint)[probable].max() < 6 * sigma.max()


@pytest.mark.parametrize("name", decoder_names())
def test_error_rate_is_near_the_optimum(name, exact, compiled):
    syndromes = likely(exact)
    decoder = compiled(name, exact.dem)
    answer = predictions(decoder, exact.packed[syndromes])
    optimum = exact.error_rate(syndromes, exact.likeliest[syndromes])
    bound = LARGEST_RATIO[name][exact.dem.num_detectors == 16]
    assert optimum <= exact.error_rate(syndromes, answer) <= bound * optimum


@pytest.mark.parametrize("name", decoder_names())
def test_agrees_wherever_the_posterior_is_decisive(name, exact, compiled):
    syndromes = likely(exact)
    syndromes = syndromes[exact.confidence[syndromes] > DECISIVE]
    assert len(syndromes) > 30
    decoder = compiled(name, exact.dem)
    np.testing.assert_array_equal(predictions(decoder, exact.packed[syndromes]), exact.likeliest[syndromes])


@pytest.mark.parametrize("name", decoder_names())
def test_every_single_mechanism_is_corrected(name, exact, compiled):
    mechanisms = [e.target_groups() for e in exact.dem.flattened() if e.type == "error"]
    index = np.zeros(len(mechanisms), dtype=int)
    flips = np.zeros(len(mechanisms), dtype=np.uint8)
    for row, mechanism in enumerate(mechanisms):
        for target in itertools.chain.from_iterable(mechanism):
            if target.is_relative_detector_id():
                index[row] ^= 1 << target.val
            elif target.is_logical_observable_id():
                flips[row] ^= 1
    decoder = compiled(name, exact.dem)
    np.testing.assert_array_equal(predictions(decoder, exact.packed[index]), flips)


@pytest.mark.parametrize("name", ["pymatching", "fusion-blossom"])
def test_matchers_find_a_least_weight_set_of_edges(name, exact, compiled):
    """All syndromes, not only likely ones; ties and weight rounding within 0.01."""
    best = exact.edge_weight.min(axis=1)
    syndromes = np.flatnonzero(np.isfinite(best))[:: 1 if exact.dem.num_detectors == 8 else 16]
    answer = predictions(compiled(name, exact.dem), exact.packed[syndromes])
    assert np.all(exact.edge_weight[syndromes, answer] <= best[syndromes] + 0.01)


@pytest.mark.parametrize("name", ["mwpf", "tesseract"])
def test_searches_find_a_least_weight_error(name, exact, compiled):
    """Both may stop early by design; here they reach the optimum in all but 0.1% of shots."""
    syndromes = likely(exact)
    answer = predictions(compiled(name, exact.dem), exact.packed[syndromes])
    excess = exact.fault_weight[syndromes, answer] - exact.fault_weight[syndromes].min(axis=1)
    assert exact.syndrome_probability[syndromes][excess > 1e-6].sum() < 1e-3


@pytest.mark.parametrize("name", [n for n in decoder_names() if n not in ("pymatching", "fusion-blossom")])
def test_correlations_are_used(name, compiled, exact_of, memory):
    """Whatever sees whole mechanisms makes fewer errors than the edges that Stim takes them apart into."""
    exact = exact_of(memory(distance=3, rounds=2, p=0.01).detector_error_model(decompose_errors=True))
    syndromes = likely(exact)
    edges = pymatching.Matching.from_detector_error_model(exact.dem)
    separate = edges.decode_batch(
        exact.packed[syndromes], bit_packed_shots=True, bit_packed_predictions=True
    )[:, 0]
    joint = predictions(compiled(name, exact.dem), exact.packed[syndromes])
    assert exact.error_rate(syndromes, joint) < exact.error_rate(syndromes, separate)


@pytest.mark.parametrize("name", ["bp-osd", "bp-lsd", "mwpf", "tesseract", "relay-bp", "trellis"])
def test_hypergraph_decoders_take_undecomposed_mechanisms(name, compiled, exact_of):
    dem = stim.DetectorErrorModel("""
        error(0.08) D0 D1 D2 L0
        error(0.01) D0
        error(0.01) D1
        error(0.01) D2
        error(0.03) D2 D3 D4 D5
        error(0.01) D3 L0
        error(0.02) D4
        error(0.02) D5 D4
    """)
    exact = exact_of(dem)
    syndromes = np.flatnonzero(exact.confidence > DECISIVE)
    syndromes = syndromes[exact.syndrome_probability[syndromes] > 1e-6]
    np.testing.assert_array_equal(
        predictions(compiled(name, dem), exact.packed[syndromes]), exact.likeliest[syndromes]
    )
