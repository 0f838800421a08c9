"""Densities per stabilizer against those of the rows themselves, and a drift that is there or not."""

from __future__ import annotations

import numpy as np
import pytest

from decoder_service.server.metrics import BASELINE_ROUNDS, EVERY, DensityMeter


def feed(meter: DensityMeter, bits: np.ndarray, *, shot_rounds: int = 7) -> None:
    for k, row in enumerate(bits):
        packed = np.packbits(row, bitorder="little").tobytes()
        meter.count(k % shot_rounds, packed, erased=False)


@pytest.mark.parametrize("compared", [0, 1, 2])
def test_shares_are_those_of_the_rows(compared: int) -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.01, 0.2, 0.05, 0.5, 0, 0.1, 0.02, 0.3, 0.15, 0.07])
    events = rng.random((EVERY * 4000, 10)) < truth
    rows = events.copy()
    for start in range(compared):
        # Measurements whose changes are the events; shots end nowhere, so that every change is seen.
        rows[start::compared] = np.bitwise_xor.accumulate(events[start::compared])
    meter, sampling = (DensityMeter(10, compared=compared) for _ in range(2))
    feed(meter, rows, shot_rounds=10**9)
    sampling.sample([(k, np.packbits(row, bitorder="little").tobytes(), False) for k, row in enumerate(rows)])
    for found, counted in ((sampling.take(), len(rows)), (density := meter.take(), 4000)):
        each = np.frombuffer(found.each, "<u2") / 65535
        assert np.abs(each - truth).max() < 5 * 0.5 / np.sqrt(counted)
    assert density.mean == pytest.approx(truth.mean(), abs=0.01)
    assert abs(density.drift) < 4


def test_a_change_of_the_noise_is_a_drift_of_many_standard_errors() -> None:
    rng = np.random.default_rng(2)
    meter = DensityMeter(24, compared=0)
    feed(meter, rng.random((EVERY * BASELINE_ROUNDS, 24)) < 0.05)
    for _ in range(100):
        meter.take()  # the beginning fades
    feed(meter, rng.random((EVERY * 300, 24)) < 0.07)
    density = meter.take()
    assert density.baseline == pytest.approx(0.05, rel=0.1)
    assert density.mean == pytest.approx(0.07, rel=0.1)
    assert density.drift > 4


def test_short_shots_are_seen_and_erased_rounds_are_not() -> None:
    meter = DensityMeter(8, compared=1)
    feed(meter, np.zeros((EVERY * 8, 8), dtype=bool), shot_rounds=8)
    assert meter.take().each == bytes(16)
    lost = DensityMeter(8, compared=0)
    for k in range(50):
        lost.count(k, b"\0", erased=True)
    assert lost.take().each == b""
