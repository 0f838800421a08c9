"""Fits find what counts were drawn from, their intervals hold it, and a known threshold is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from sims.fits import Counts, fit_suppression, fit_threshold

DISTANCES = (3, 5, 7, 9)


def _rate(distance: int, factor: float, *, amplitude: float = 0.02) -> float:
    """Error rate of a shot of d rounds with ε = amplitude / factor^((d + 1) / 2)."""
    per_round = amplitude / factor ** ((distance + 1) / 2)
    return (1 - (1 - 2 * per_round) ** distance) / 2


def _expected(factor: float, *, shots: int = 10**9) -> list[Counts]:
    return [Counts(d, d, 0.004, round(shots * _rate(d, factor)), shots) for d in DISTANCES]


@pytest.mark.parametrize("factor", [0.7, 1.5, 3.0, 12.0])
def test_suppression_of_expected_counts(factor):
    """Also above the threshold, where errors grow with the distance."""
    fit = fit_suppression(_expected(factor))
    assert fit.factor.best == pytest.approx(factor, rel=1e-3)
    assert fit.factor.low < factor < fit.factor.high
    assert fit.goodness.p_value > 0.05
    for d in DISTANCES:
        assert fit.error_rate(d) == pytest.approx(0.02 / factor ** ((d + 1) / 2), rel=2e-3)
        assert fit.per_round[d].low < fit.error_rate(d) < fit.per_round[d].high


def test_intervals_hold_the_truth_as_often_as_they_say():
    """A few errors at the largest distance, sometimes none: 200 experiments, 95 %."""
    rng, held, unlikely = np.random.default_rng(2), 0, 0
    for _ in range(200):
        counts = [Counts(d, d, 0.004, int(rng.binomial(15_000, _rate(d, 3.0))), 15_000) for d in DISTANCES]
        fit = fit_suppression(counts)
        held += fit.factor.low <= 3.0 <= fit.factor.high
        unlikely += fit.goodness.p_value < 0.05
    assert 180 <= held <= 199
    assert unlikely <= 22


def test_a_floor_does_not_pass_for_suppression():
    """A part of the errors that no distance removes: the model does not hold, and the p-value says so."""
    counts = [Counts(d, d, 0.004, round(10**6 * (_rate(d, 4.0) + 2e-4)), 10**6) for d in DISTANCES]
    assert fit_suppression(counts).goodness.p_value < 1e-6


def test_a_distance_without_errors_counts():
    """No error in as many shots says that Λ is large; without that distance it is known less well."""
    few = [Counts(3, 3, 0.004, 900, 10**5), Counts(5, 5, 0.004, 90, 10**5)]
    more = fit_suppression([*few, Counts(7, 7, 0.004, 0, 10**6)])
    alone = fit_suppression(few)
    assert more.factor.low > alone.factor.low
    assert more.per_round[7].best == 0
    assert 0 < more.per_round[7].high < 1e-6
    assert alone.goodness.freedom == 0


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([Counts(3, 3, 0.004, 10, 100)], r"errors at two distances or more.*here are \[3\]"),
        ([Counts(3, 3, 0.004, 10, 100), Counts(5, 5, 0.004, 0, 100)], r"here are \[3\]"),
        (
            [Counts(3, 3, 0.004, 50, 100), Counts(5, 5, 0.004, 60, 100)],
            r"less than half of the shots.*here are \[\]",
        ),
    ],
)
def test_too_little_for_suppression_is_said(counts, message):
    with pytest.raises(ValueError, match=message):
        fit_suppression(counts)


def _repetition(p: float, distance: int, *, shots: int) -> Counts:
    """Majority vote among d bits that flip with p: the threshold is 1/2."""
    rate = float(binom.sf(distance // 2, distance, p))
    return Counts(distance, distance, p, round(shots * rate), shots)


def test_threshold_of_the_repetition_code_is_one_half():
    """Exact error rates; ν = 2, as the mean of d bits spreads by d^(-1/2)."""
    ps = np.linspace(0.485, 0.512, 8)
    counts = [_repetition(p, d, shots=200_000) for p in ps for d in (21, 41, 81)]
    fit = fit_threshold(counts)
    assert fit.p.best == pytest.approx(0.5, abs=1e-3)
    assert fit.p.low < 0.5 < fit.p.high
    assert fit.exponent.best == pytest.approx(2.0, abs=0.1)
    assert fit.at_threshold == pytest.approx(0.5, abs=0.01)


def test_threshold_outside_the_error_rates_is_refused():
    counts = [_repetition(p, d, shots=200_000) for p in (0.3, 0.35, 0.4) for d in (11, 21)]
    with pytest.raises(ValueError, match=r"do not cross between p = 0\.3 and 0\.4.*both sides"):
        fit_threshold(counts)
    with pytest.raises(ValueError, match=r"two distances and three error rates or more, here are \[11\]"):
        fit_threshold(counts[::2])


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="11 errors of 10 shots"):
        Counts(3, 3, 0.1, 11, 10)
