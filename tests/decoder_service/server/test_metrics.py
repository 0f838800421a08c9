"""Densities per stabilizer against those of the rounds themselves, and a drift that is there or not."""

from __future__ import annotations

import numpy as np
import pytest

from decoder_service.server.metrics import BASELINE_ROUNDS, DensityMeter


def feed(meter: DensityMeter, events: np.ndarray, *, at_once: int = 100) -> None:
    for start in range(0, len(events), at_once):
        part = events[start : start + at_once]
        meter.add(len(part), part.sum(axis=0, dtype=np.uint32))


def test_shares_are_those_of_the_rounds() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.01, 0.2, 0.05, 0.5, 0, 0.1, 0.02, 0.3, 0.15, 0.07])
    meter = DensityMeter(10)
    feed(meter, rng.random((4000, 10)) < truth)
    density = meter.take()
    assert np.abs(np.array(density.each) - truth).max() < 5 * 0.5 / np.sqrt(4000)
    assert density.mean == pytest.approx(truth.mean(), abs=0.01)
    assert abs(density.drift) < 4


def test_a_change_of_the_noise_is_a_drift_of_many_standard_errors() -> None:
    rng = np.random.default_rng(2)
    meter = DensityMeter(24)
    feed(meter, rng.random((BASELINE_ROUNDS, 24)) < 0.05)
    for _ in range(100):
        meter.take()  # the beginning fades
    feed(meter, rng.random((300, 24)) < 0.07)
    density = meter.take()
    assert density.baseline == pytest.approx(0.05, rel=0.1)
    assert density.mean == pytest.approx(0.07, rel=0.1)
    assert density.drift > 4


def test_before_any_round_there_is_none() -> None:
    meter = DensityMeter(8)
    meter.add(0, np.zeros(8, np.uint32))
    assert meter.take() == ([], 0, 0, 0)
