"""Intervals against scipy's and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sims.statistics import Estimate, error_rate, per_round, rate_ratio


@given(st.data())
def test_error_rate_is_scipys_exact_interval(data: st.DataObject) -> None:
    shots = data.draw(st.integers(1, 10**6))
    errors = data.draw(st.integers(0, shots))
    expected = binomtest(errors, shots).proportion_ci(0.95, method="exact")
    rate = error_rate(errors, shots)
    assert rate.low == pytest.approx(expected.low, rel=1e-6, abs=1e-12)
    assert rate.high == pytest.approx(expected.high, rel=1e-6)
    assert rate.best == errors / shots


@given(st.floats(0, 0.49), st.integers(1, 50))
def test_rounds_of_the_per_round_rate_make_the_shot_rate(shot_rate: float, rounds: int) -> None:
    one = per_round(Estimate(shot_rate, shot_rate, shot_rate), rounds).best
    assert (1 - (1 - 2 * one) ** rounds) / 2 == pytest.approx(shot_rate, abs=1e-9)


def test_ratio_without_errors_is_unknown_and_one_sided_ratios_are_open() -> None:
    assert rate_ratio(base_errors=0, base_shots=10, errors=0, shots=10) is None
    above = rate_ratio(base_errors=5, base_shots=10, errors=0, shots=10)
    assert above is not None
    assert above.best == above.high == math.inf
    assert 0 < above.low < math.inf


@given(st.integers(1, 500), st.integers(1, 500), st.integers(500, 5000), st.integers(500, 5000))
def test_ratio_swaps_into_its_inverse(base_errors: int, errors: int, base_shots: int, shots: int) -> None:
    there = rate_ratio(base_errors=base_errors, base_shots=base_shots, errors=errors, shots=shots)
    back = rate_ratio(base_errors=errors, base_shots=shots, errors=base_errors, shots=base_shots)
    assert there is not None
    assert back is not None
    assert there.best == pytest.approx(1 / back.best)
    assert there.low == pytest.approx(1 / back.high)


def test_ratio_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    shots, base_rate, rate = 4000, 0.03, 0.02
    base, ours = rng.binomial(shots, base_rate, 400), rng.binomial(shots, rate, 400)
    ratios = [
        rate_ratio(base_errors=int(b), base_shots=shots, errors=int(e), shots=shots)
        for b, e in zip(base, ours, strict=True)
    ]
    covered = np.mean([r is not None and r.low <= base_rate / rate <= r.high for r in ratios])
    assert covered >= 0.93


@pytest.mark.parametrize(("errors", "shots"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(errors: int, shots: int) -> None:
    with pytest.raises(ValueError, match=f"hits={errors} and shots={shots}"):
        error_rate(errors, shots)
