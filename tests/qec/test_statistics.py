"""Ratios of errors that were counted on the same shots."""

from __future__ import annotations

import math

import pytest

from qec import ratio_of_errors


def test_known_counts_have_a_known_interval() -> None:
    """170 errors beside 200, of shots that count for several; 31 beside 28, with 5 and 2 discordant ones."""
    weighted = (0.85, 0.610439735019799, 1.183573018844467)
    assert ratio_of_errors(170, 200, variance=970) == pytest.approx(weighted, rel=1e-14)
    counted = (1.1071428571428572, 0.9284576581278703, 1.3202167006668521)
    assert ratio_of_errors(31, 28, variance=7) == pytest.approx(counted, rel=1e-14)
    assert ratio_of_errors(28, 28, variance=0) == (1, 1, 1)


@pytest.mark.parametrize(("above", "below"), [(0, 3), (3, 0), (0, 0)])
def test_without_errors_on_a_side_there_is_no_ratio(above: int, below: int) -> None:
    assert all(map(math.isnan, ratio_of_errors(above, below, variance=3)))
