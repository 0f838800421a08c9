"""A mean of what was learned and of a prior: nothing but the two opinions, mechanism by mechanism."""

from __future__ import annotations

import random

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_learning import Moments, NoiseFit, Structure, fit_closed_form, towards_prior
from qec import normal_form

SYMPTOMS = (
    *("D0", "D0 L0", "D1", "D0 D1", "D1 D2 L0", "D0 ^ D1 D2", "D0 D1 D2", "D0 D1 ^ D2"),
    *("D2 D3 ^ D0 L0 ^ D1", "D0 D1 D2 ^ D3 L0"),
)
ENDS = "detector(1, 2, 3) D3\nlogical_observable L0\n"
PROBABILITIES = st.one_of(st.floats(1e-7, 0.5), st.just(0.0))
LINES = st.lists(st.tuples(PROBABILITIES, st.sampled_from(SYMPTOMS)), max_size=8)


def _dem(lines: list[tuple[float, str]]) -> stim.DetectorErrorModel:
    """At least one error of every DEM happens."""
    errors = [f"error({p!r}) {targets}\n" for p, targets in [*lines, (0.01, "D3")]]
    return stim.DetectorErrorModel("".join(errors) + ENDS)


def _rates(dem: stim.DetectorErrorModel) -> dict[tuple[frozenset[int], frozenset[int]], float]:
    """By symptoms, read anew from Stim's instructions: targets that come twice cancel, equal errors add."""
    found: dict[tuple[frozenset[int], frozenset[int]], float] = {}
    for line in dem.flattened():
        if isinstance(line, stim.DemInstruction) and line.type == "error":
            detectors, observables = set[int](), set[int]()
            for target in line.targets_copy():
                assert isinstance(target, stim.DemTarget)
                if target.is_relative_detector_id():
                    detectors ^= {target.val}
                elif target.is_logical_observable_id():
                    observables ^= {target.val}
            key, (p,) = (frozenset(detectors), frozenset(observables)), line.args_copy()
            before = found.get(key, 0.0)
            found[key] = before * (1 - p) + p * (1 - before)
    return {key: p for key, p in found.items() if p > 0}


@settings(deadline=None, max_examples=25)
@given(LINES, LINES, st.floats(0, 1), st.randoms(use_true_random=False))
def test_every_mechanism_is_between_what_the_two_say(ours, theirs, share, order: random.Random):
    learned, prior = _dem(ours), _dem(theirs)
    one, other = _rates(learned), _rates(prior)
    mixed = towards_prior(learned, prior, share=share)
    for key, p in _rates(mixed).items():
        low, high = sorted((one.get(key, 0.0), other.get(key, 0.0)))
        assert low * (1 - 1e-9) <= p <= high * (1 + 1e-9)
        if low > 0:
            assert p == pytest.approx(one[key] ** (1 - share) * other[key] ** share)
        else:
            assert p == pytest.approx((1 - share) * one.get(key, 0.0) + share * other.get(key, 0.0))
    assert _rates(towards_prior(learned, prior, share=0)) == pytest.approx(one)
    assert _rates(towards_prior(learned, prior, share=1)) == pytest.approx(other)
    assert _rates(towards_prior(learned, learned, share=share)) == pytest.approx(one)
    order.shuffle(ours)
    order.shuffle(theirs)
    assert _rates(towards_prior(_dem(ours), _dem(theirs), share=share)) == _rates(mixed)


def test_decompositions_and_coordinates_are_those_of_the_learned_dem():
    """Where it has them; else the prior's. Blocks of either are unrolled."""
    learned = stim.DetectorErrorModel("""
        error(0.01) D0 D1 ^ D2 L0
        error(0.02) D0 ^ D1 ^ D2 L0
        detector(1) D0
    """)
    prior = stim.DetectorErrorModel("""
        error(0.04) D0 ^ D1 D2 L0
        repeat 2 {
            error(0.2) D0 ^ D1 L0
            shift_detectors 1
        }
        detector(5) D0
    """)
    assert towards_prior(learned, prior, share=0.5).approx_equals(
        stim.DetectorErrorModel("""
        error(0.0344093) D0 D1 ^ D2 L0
        error(0.1) D0 ^ D1 L0
        error(0.1) D1 ^ D2 L0
        detector(1) D0
        detector D1
        detector(5) D2
        logical_observable L0
    """),
        atol=1e-6,
    )


def test_what_always_happens_is_what_was_learned():
    """A detector that is the other way round in the shots is so in the mean, whatever the prior says."""
    learned = stim.DetectorErrorModel("error(0.96) D0\nerror(0.02) D0 D1 L0")
    prior = stim.DetectorErrorModel("error(0.01) D0\nerror(0.92) D0 D1 L0")
    expected = normal_form(stim.DetectorErrorModel("error(0.98) D0\nerror(0.04) D0 D1 L0"))
    found = normal_form(towards_prior(learned, prior, share=0.5))
    np.testing.assert_array_equal(found.detector_flips, expected.detector_flips)
    np.testing.assert_allclose(found.tables.probabilities, expected.tables.probabilities)


def test_mechanisms_that_no_detector_sees_have_a_mean_too():
    learned, prior = (stim.DetectorErrorModel(f"error({p}) L0") for p in (0.02, 0.08))
    assert _rates(towards_prior(learned, prior, share=0.5)) == {(frozenset(), frozenset({0})): 0.04}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_named(share: float, fit: NoiseFit):
    for towards in (lambda: fit.towards_prior(share), lambda: towards_prior(_dem([]), _dem([]), share=share)):
        with pytest.raises(ValueError, match=f"a prior's share of {share!r} is not from 0"):
            towards()


@pytest.mark.parametrize(
    ("learned", "prior", "named"),
    [
        (
            "error(0.1) D3 L0",
            "error(0.1) D5 L0",
            "learned DEM has 4 detectors and the prior 6; give two",
        ),
        ("error(0.1) D3 L0", "error(0.1) D3 L2", "learned DEM has 1 observables and the prior 3"),
        ("error(0.1) D3 L0", ENDS, "the prior has no errors; give the DEM of a circuit with noise"),
        (ENDS, "error(0.1) D3 L0", "the learned DEM has no errors"),
    ],
)
def test_dems_that_do_not_go_together_are_named(learned: str, prior: str, named: str):
    with pytest.raises(ValueError, match=named):
        towards_prior(stim.DetectorErrorModel(learned), stim.DetectorErrorModel(prior), share=0.5)


@pytest.fixture(scope="module")
def fit() -> NoiseFit:
    """Of shots in which D2 is the other way round; the circuit's rates are 2, 1/2 and 1/3 times theirs."""
    device = stim.DetectorErrorModel("error(0.02) D0\nerror(0.03) D0 D1 L0\nerror(0.97) D2")
    structure = Structure.from_dem(
        stim.DetectorErrorModel("error(0.04) D0\nerror(0.015) D0 D1 L0\nerror(0.01) D2")
    )
    shots, _, _ = device.compile_sampler(seed=1).sample(50_000, bit_packed=True)
    return fit_closed_form(Moments.from_shots(structure.subsets, shots), structure)


def test_a_fit_is_drawn_as_its_dem_is(fit: NoiseFit):
    assert fit.towards_prior(0) is fit
    drawn = fit.towards_prior(0.4)
    assert (fit.p[2] > 0.9, drawn.p[2] > 0.9) == (True, True)
    circuit = stim.DetectorErrorModel("error(0.04) D0\nerror(0.015) D0 D1 L0\nerror(0.01) D2")
    found, expected = (
        normal_form(dem) for dem in (drawn.dem(), towards_prior(fit.dem(), circuit, share=0.4))
    )
    np.testing.assert_allclose(found.tables.probabilities, expected.tables.probabilities)
    np.testing.assert_array_equal(found.detector_flips, expected.detector_flips)
    assert drawn.notes[-1].startswith("probabilities of mechanisms are learned^0.6 x circuit^0.4")
    np.testing.assert_allclose(fit.towards_prior(1).p, [0.04, 0.015, 0.99])


def test_a_detector_that_fires_half_the_time_is_trusted_no_more_than_shots_say():
    """It once came back as one that fires in 7 % of the shots, the mean of 1/2 and the circuit's 1 %."""
    device = stim.DetectorErrorModel("error(0.02) D0\nerror(0.03) D0 D1 L0\nerror(0.5) D2\nerror(0.01) D1 D2")
    circuit = stim.DetectorErrorModel(
        "error(0.04) D0\nerror(0.04) D0 D1 L0\nerror(0.01) D2\nerror(0.04) D1 D2"
    )
    structure = Structure.from_dem(circuit)
    shots, _, _ = device.compile_sampler(seed=1).sample(50_000, bit_packed=True)
    fit = fit_closed_form(Moments.from_shots(structure.subsets, shots), structure)
    drawn = fit.towards_prior(0.5)
    np.testing.assert_array_equal(drawn.p[2:], fit.p[2:])
    np.testing.assert_array_equal(drawn.sigma[2:], fit.sigma[2:])
    np.testing.assert_allclose(drawn.p[:2], np.sqrt(fit.p[:2] * 0.04))
    assert fit.p[2] == pytest.approx(0.5, abs=0.01)


def test_standard_errors_are_how_the_mean_scatters_where_what_was_learned_does(fit: NoiseFit):
    """Against the spread of means of 20,000 fits that scatter by their standard errors."""
    drawn = fit.towards_prior(0.4)
    rare = np.minimum(fit.p, 1 - fit.p)
    fits = np.random.default_rng(2).normal(rare, fit.sigma, (20_000, 3))
    spread = np.std(fits**0.6 * np.array([0.04, 0.015, 0.01]) ** 0.4, axis=0)
    np.testing.assert_allclose(drawn.sigma, spread, rtol=0.03)
    assert (fit.towards_prior(1).sigma == 0).all()
