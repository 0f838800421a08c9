"""Gaps that hold what they say on one DEM: the log-odds that shots simulated from it show.

One matching, or one search, stands for all explanations that are nearly as likely, and a network may be too
sure of itself: raw gaps are off, by how much depends on the decoder and on the noise. Errors among simulated
shots say by how much, without a shot of a device. What is fitted is a straight line, a gap + b, by maximum
likelihood (logistic regression): it keeps the order of shots, and two numbers need few errors. A monotone
step function (isotonic regression) follows the scatter of few errors and is no better on other shots
(docs/results/confidence.md).

Shape legend: B shots, D detectors, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sinter
import stim
from scipy.optimize import minimize
from scipy.special import expit

from global_decoders.compiling import NormalFormDecoder, compile_normal_form
from global_decoders.doubtful_shots import DoubtfulShots
from global_decoders.soft_output import WithGap, decode_with_gap, require_gap
from qec import NormalForm, normal_form

__all__ = ["CalibratedDecoder", "CompiledCalibrated", "GapCalibration", "calibrate_gaps"]

_SEED = 20_260_406
_CHUNK_SHOTS = 10_000


@dataclass(frozen=True)
class GapCalibration:
    """Log-odds of a prediction from its gap: slope * gap + offset, in nats.

    Attributes:
        slope: above 0, so that the surest shots stay the surest ones.
        offset: of a gap of 0.
        shots, errors: that it was fitted on, with those that decoded ones stand for.
    """

    slope: float
    offset: float
    shots: int
    errors: int

    def __call__(self, gap: np.ndarray) -> np.ndarray:
        """The log-odds, float32, of gaps in any shape; what is infinite stays so."""
        return (self.slope * gap + self.offset).astype(np.float32)

    def gap_of(self, log_odds: float) -> float:
        """The gap from which on, either way, log-odds are at least this, above 0, either way."""
        return (log_odds + abs(self.offset)) / self.slope

    def __str__(self) -> str:
        return (
            f"{self.slope:.3f} gap {'-' if self.offset < 0 else '+'} {abs(self.offset):.3f} "
            f"({self.errors:,} errors of {self.shots:,} simulated shots)"
        )

    @classmethod
    def fit(cls, gap: np.ndarray, wrong: np.ndarray, counts: np.ndarray | None = None) -> GapCalibration:
        """Maximize the likelihood of which predictions were wrong.

        A weak prior, a standard normal distribution of the slope's logarithm and of the offset, settles what
        shots without errors leave open. Gaps that are not finite have no part in the fit.

        Args:
            gap: float `(B,)`.
            wrong: bool `(B,)`.
            counts: `(B,)`, how many such shots there were, or how many each stands for; one if not given.

        Raises:
            ValueError: no shots.
        """
        counts = np.ones(len(gap)) if counts is None else counts
        total, errors = round(counts.sum()), round(counts[wrong].sum())
        if total == 0:
            raise ValueError("there are no shots to calibrate gaps on; give some")
        known = np.isfinite(gap)
        g, weight = gap[known].astype(np.float64), counts[known].astype(np.float64)
        sign = np.where(wrong[known], 1.0, -1.0)

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            slope, offset = np.exp(parameters[0]), parameters[1]
            surprise = sign * (slope * g + offset)
            value = weight @ np.logaddexp(0.0, surprise) + parameters @ parameters / 2
            pull = weight * sign * expit(surprise)
            return float(value), np.array([slope * (pull @ g), pull.sum()]) + parameters

        found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-5, 5), (-20, 20)])
        return cls(float(np.exp(found.x[0])), float(found.x[1]), total, errors)


class CalibratedDecoder(NormalFormDecoder):
    """Any decoder with a gap: its predictions, with gaps that are log-odds on the DEM it is compiled for."""

    def __init__(self, decoder: sinter.Decoder, *, shots: int = 50_000) -> None:
        """Choose how much is simulated.

        Args:
            decoder: it needs a gap.
            shots: that are simulated when it is compiled; `calibrate_gaps` says how many are decoded.

        Raises:
            ValueError: fewer than one shot.
        """
        _check(shots)
        self.decoder, self.shots = decoder, shots

    def compile_normal_form(self, normal: NormalForm) -> CompiledCalibrated:
        """Compile the decoder, and fit its gaps.

        Raises:
            NoGapError: it has none.
        """
        return calibrate_gaps(compile_normal_form(self.decoder, normal), normal.dem, shots=self.shots)


class CompiledCalibrated(sinter.CompiledDecoder):
    """A compiled decoder, and what makes the gap of each observable its log-odds."""

    def __init__(self, compiled: sinter.CompiledDecoder, calibrations: Sequence[GapCalibration]) -> None:
        self.compiled, self.calibrations = compiled, tuple(calibrations)

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`, the decoder's own."""
        return self.compiled.decode_shots_bit_packed(
            bit_packed_detection_event_data=bit_packed_detection_event_data
        )

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and calibrated gaps."""
        raw = max((of.gap_of(limit) for of in self.calibrations), default=limit)
        found = decode_with_gap(self.compiled, bit_packed_detection_event_data, limit=raw)
        gap = np.empty_like(found.gap, dtype=np.float32)
        for k, calibration in enumerate(self.calibrations):
            gap[:, k] = calibration(found.gap[:, k])
        return WithGap(found.predictions, gap)


def calibrate_gaps(
    compiled: sinter.CompiledDecoder, dem: stim.DetectorErrorModel, *, shots: int
) -> CompiledCalibrated:
    """Fit the gaps of a compiled decoder to shots that are sampled from its DEM, with a seed of their own.

    Those that plain matching is sure of, most where errors are rare, are decoded in part, and count for all
    (`DoubtfulShots`). On shots of a device the gaps hold as far as the DEM fits it.

    Raises:
        NoGapError: it has none.
        ValueError: fewer than one shot.
    """
    require_gap(compiled, num_detectors=dem.num_detectors)
    _check(shots)
    gap, wrong, counts = _simulated(compiled, dem, shots=shots)
    return CompiledCalibrated(
        compiled, [GapCalibration.fit(gap[:, k], wrong[:, k], counts) for k in range(gap.shape[1])]
    )


def _check(shots: int) -> None:
    if shots < 1:
        raise ValueError(f"{shots=} to calibrate gaps on; give 1 or more")


def _simulated(
    compiled: sinter.CompiledDecoder, dem: stim.DetectorErrorModel, *, shots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sampled shots that are decoded.

    Returns:
        Their gaps, float32 `(B, O)`; which predictions are wrong, bool `(B, O)`; how many shots each counts
        for, float64 `(B,)`.
    """
    sampler, normal = dem.compile_sampler(seed=_SEED), normal_form(dem)
    doubtful = DoubtfulShots(normal)
    gaps, wrongs, counts = [], [], []
    for start in range(0, shots, _CHUNK_SHOTS):
        packed, flips, _ = map(np.asarray, sampler.sample(min(_CHUNK_SHOTS, shots - start), bit_packed=True))
        chosen = doubtful.choose(np.bitwise_xor(packed, normal.detector_flips))
        found = decode_with_gap(compiled, packed[chosen.numbers])
        wrong = np.bitwise_xor(found.predictions, flips[chosen.numbers])
        gaps.append(found.gap)
        wrongs.append(np.unpackbits(wrong, axis=1, count=dem.num_observables, bitorder="little"))
        counts.append(chosen.weights)
    return np.concatenate(gaps), np.concatenate(wrongs).astype(bool), np.concatenate(counts)
