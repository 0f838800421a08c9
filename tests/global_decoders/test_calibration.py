"""Calibrated gaps are log-odds; predictions and the order of shots stay."""

from __future__ import annotations

import functools
import math
import pickle

import numpy as np
import pytest
import stim
from scipy.special import expit

import qec
from global_decoders import (
    CalibratedDecoder,
    CompiledCalibrated,
    DoubtfulShots,
    GapCalibration,
    NoGapError,
    calibrate_gaps,
    calibration,
    decode_with_gap,
    make_decoder,
)
from global_decoders.adapters.pymatching import PyMatchingDecoder


def _drawn(slope: float, offset: float, shots: int = 100_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    gap = rng.exponential(4, shots)
    return gap, rng.random(shots) < expit(-slope * gap - offset)


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 0.0), (1.0, 0.3), (1.6, -0.4)])
def test_the_line_is_found(slope: float, offset: float) -> None:
    gap, wrong = _drawn(slope, offset)
    found = GapCalibration.fit(gap, wrong)
    assert (found.slope, found.offset) == pytest.approx((slope, offset), abs=0.04)
    assert (found.shots, found.errors) == (100_000, wrong.sum())
    said = expit(-found(gap))
    assert said.sum() == pytest.approx(wrong.sum(), rel=1e-3)  # what a maximum of the likelihood has
    assert (np.diff(found(np.sort(gap))) >= 0).all()


def test_counts_stand_for_equal_shots() -> None:
    gap, wrong = np.array([0.5, 0.5, 2.0, 2.0, 6.0]), np.array([True, False, True, False, False])
    counts = np.array([30, 40, 10, 80, 900])
    once = GapCalibration.fit(np.repeat(gap, counts), np.repeat(wrong, counts))
    found = GapCalibration.fit(gap, wrong, counts)
    assert (found.slope, found.offset) == pytest.approx((once.slope, once.offset), rel=1e-9)
    assert (found.shots, found.errors) == (once.shots, once.errors) == (1060, 40)


def test_few_shots_and_infinite_gaps_give_a_sane_line() -> None:
    none = GapCalibration.fit(np.full(50, 3.0), np.zeros(50, dtype=bool))
    assert 0 < none.slope < 5
    assert abs(none.offset) < 5
    gap, wrong = _drawn(0.7, 0.1, 5_000)
    with_infinite = GapCalibration.fit(np.append(gap, [np.inf, np.inf]), np.append(wrong, [True, False]))
    without = GapCalibration.fit(gap, wrong)
    assert (with_infinite.slope, with_infinite.offset) == (without.slope, without.offset)
    assert np.isposinf(without(np.array([np.inf])))
    with pytest.raises(ValueError, match="no shots to calibrate"):
        GapCalibration.fit(np.zeros(0), np.zeros(0, dtype=bool))


@pytest.fixture(scope="module")
def dem() -> stim.DetectorErrorModel:
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.012))
    return circuit.detector_error_model(decompose_errors=True)


def test_gaps_of_new_shots_say_how_often_they_are_wrong(dem: stim.DetectorErrorModel) -> None:
    """A decoder whose gaps are half of what they should be, with certain flips in its DEM."""
    dem = dem + stim.DetectorErrorModel("error(1) D0 D3 L0")
    raw = PyMatchingDecoder(gap_scale=0.4)
    compiled = pickle.loads(pickle.dumps(CalibratedDecoder(raw, shots=20_000))).compile_decoder_for_dem(
        dem=dem
    )
    packed, flips, _ = dem.compile_sampler(seed=5).sample(20_000, bit_packed=True)
    before = decode_with_gap(raw.compile_decoder_for_dem(dem=dem), packed)
    found = decode_with_gap(compiled, packed)
    np.testing.assert_array_equal(found.predictions, before.predictions)
    np.testing.assert_array_equal(
        compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed), before.predictions
    )
    assert (np.diff(found.gap[np.argsort(before.gap[:, 0], kind="stable"), 0]) >= 0).all()
    wrong = (found.predictions != flips)[:, 0]
    least = np.argsort(found.gap[:, 0])[:2_000]
    seen = wrong[least].mean()
    assert expit(-found.gap[least, 0]).mean() == pytest.approx(seen, abs=0.03)
    assert abs(expit(-before.gap[least, 0]).mean() - seen) > 0.06


def test_each_observable_has_its_own_line(dem: stim.DetectorErrorModel) -> None:
    """The second observable is the first one flipped by nothing else: both lines are the same."""
    twice = stim.DetectorErrorModel(str(dem).replace("L0", "L0 L1"))
    compiled = calibrate_gaps(
        make_decoder("pymatching").compile_decoder_for_dem(dem=twice), twice, shots=3_000
    )
    first, second = compiled.calibrations
    assert first == second
    assert first.shots == 3_000


def test_what_has_no_gap_is_refused_before_it_decodes(dem: stim.DetectorErrorModel) -> None:
    class Plain:
        def decode_shots_bit_packed(self, *, bit_packed_detection_event_data):
            raise AssertionError("nothing is decoded")

    with pytest.raises(NoGapError):
        calibrate_gaps(Plain(), dem, shots=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shots=0 to calibrate"):
        CalibratedDecoder(make_decoder("pymatching"), shots=0)


def test_the_line_is_the_same_every_time(dem: stim.DetectorErrorModel) -> None:
    lines = []
    for _ in range(2):
        compiled = CalibratedDecoder(make_decoder("pymatching"), shots=2_001).compile_decoder_for_dem(dem=dem)
        assert isinstance(compiled, CompiledCalibrated)
        lines.append(str(compiled.calibrations[0]))
    assert lines[0] == lines[1]
    assert "of 2,001 simulated shots" in lines[0]


def test_sure_shots_count_for_those_that_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of all shots, of a part of them: most of these are ones that plain matching is sure of."""
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.004))
    dem = circuit.detector_error_model(decompose_errors=True)
    decoded = []

    class Counting:
        compiled = make_decoder("pymatching-correlated").compile_decoder_for_dem(dem=dem)

        def decode_shots_with_gap(self, *, bit_packed_detection_event_data, limit):
            decoded.append(len(bit_packed_detection_event_data))
            return decode_with_gap(self.compiled, bit_packed_detection_event_data, limit=limit)

    (found,) = calibrate_gaps(Counting(), dem, shots=40_000).calibrations  # type: ignore[arg-type]
    assert sum(decoded) < 20_000
    monkeypatch.setattr(calibration, "DoubtfulShots", functools.partial(DoubtfulShots, plain_gap=math.inf))
    (expected,) = calibrate_gaps(Counting(), dem, shots=40_000).calibrations  # type: ignore[arg-type]
    assert sum(decoded) > 40_000  # all of the same shots
    assert (found.slope, found.offset) == pytest.approx((expected.slope, expected.offset), abs=0.1)
    assert found.shots == 40_000
    assert found.errors == pytest.approx(expected.errors, rel=0.2)
