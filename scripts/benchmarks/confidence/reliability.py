"""Tenths of the shots in order of their gap: how often they are wrong, beside how often their gaps say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from global_decoders import GapCalibration
from sims.sweeps import GapCounts

PARTS = 10


@dataclass(frozen=True)
class Part:
    """About a tenth of the shots.

    Attributes:
        shots, wrong: how many, and how many of them are wrong.
        said: mean of the error probability that their gaps say.
    """

    shots: int
    wrong: int
    said: float

    @property
    def seen(self) -> float:
        """Share of wrong ones."""
        return self.wrong / self.shots

    @property
    def off(self) -> float:
        """What the gap is off by."""
        return abs(self.said - self.seen)

    @property
    def error(self) -> float:
        """Standard error of `off`, if the gaps are right: that of counting so many shots."""
        return float(np.sqrt(self.said * (1 - self.said) / self.shots))


def parts_by_gap(counts: GapCounts, log_odds: np.ndarray) -> list[Part]:
    """From unsure to sure. A step of the gap is never cut: where most shots are in one, parts are fewer.

    Args:
        log_odds: float `(steps,)`, of the predictions in each step of `counts` being right.
    """
    shots = counts.right + counts.wrong
    part = np.minimum(np.cumsum(shots) - shots // 2, shots.sum() - 1) * PARTS // max(1, shots.sum())
    sums = [
        np.bincount(part, weights=of, minlength=PARTS)
        for of in (shots, counts.wrong, shots * expit(-log_odds))
    ]
    return [Part(int(n), int(wrong), float(said / n)) for n, wrong, said in zip(*sums, strict=True) if n]


def worst_part(parts: Sequence[Part]) -> Part:
    """The one that is off by most."""
    return max(parts, key=lambda part: part.off)


def fitted_line(counts: GapCounts) -> GapCalibration:
    """The straight line that makes gaps log-odds."""
    wrong = np.repeat([False, True], len(counts.middles))
    return GapCalibration.fit(np.tile(counts.middles, 2), wrong, np.concatenate([counts.right, counts.wrong]))


def best_factor(counts: GapCounts) -> float:
    """The factor, 0.1 to 10, that makes gaps log-odds as far as one can."""

    def loss(log_factor: float) -> float:
        log_odds = np.exp(log_factor) * counts.middles
        return float(counts.right @ np.logaddexp(0, -log_odds) + counts.wrong @ np.logaddexp(0, log_odds))

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded")
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]
