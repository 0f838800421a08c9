"""Λ: by how much the logical error rate of a round falls when the distance grows by two."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sims.fits.likelihood import Counts, Goodness, maximize
from sims.statistics import Estimate

__all__ = ["Suppression", "fit_suppression"]

_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class Suppression:
    """ε(d) = C / Λ^((d + 1) / 2) for the error rate of a round, as Google's experiments define Λ.

    Attributes:
        factor: Λ with its 95 % interval.
        per_round: ε of every distance by itself, with its interval; a distance without errors has one of 0.
        goodness: of Λ being the same for all distances.
    """

    factor: Estimate
    amplitude: float
    per_round: dict[int, Estimate]
    goodness: Goodness

    def error_rate(self, distance: float) -> float:
        """ε of a round by the fit, at any distance."""
        return self.amplitude / self.factor.best ** ((distance + 1) / 2)


def fit_suppression(counts: Iterable[Counts]) -> Suppression:
    """Fit counts of several distances at one physical error rate.

    Raises:
        ValueError: fewer than two distances have errors, or none has less than half its shots wrong.
    """
    counts = list(counts)
    usable = [c for c in counts if 2 * c.errors < c.shots]
    with_errors = [c for c in usable if c.errors]
    if len({c.distance for c in with_errors}) < 2:
        found = sorted({c.distance for c in with_errors})
        raise ValueError(
            f"Λ needs errors at two distances or more, in less than half of the shots; here are {found}: "
            "sweep more --distance or more --max-shots"
        )
    power = np.array([(c.distance + 1) / 2 for c in usable])
    rounds = np.array([c.rounds for c in usable])

    def rate_of(parameters: np.ndarray) -> np.ndarray:
        return _of_shot(np.exp(np.minimum(parameters[0] - power * parameters[1], 0)), rounds)

    guess = [(math.log(_of_round(c.errors / c.shots, c.rounds)), (c.distance + 1) / 2) for c in with_errors]
    slope, offset = np.polyfit([x for _, x in guess], [y for y, _ in guess], 1)
    fitted = maximize(rate_of, usable, np.array([offset, -slope]))
    log_factor = fitted.interval(1)
    return Suppression(
        factor=Estimate(*(_exp(x) for x in (log_factor.low, log_factor.best, log_factor.high))),
        amplitude=math.exp(fitted.parameters[0]),
        per_round=_each(usable),
        goodness=fitted.goodness,
    )


def _each(counts: list[Counts]) -> dict[int, Estimate]:
    """ε by distance, counts of one distance with different numbers of rounds together."""
    found = {}
    for distance in sorted({c.distance for c in counts}):
        own = [c for c in counts if c.distance == distance]
        rounds = np.array([c.rounds for c in own])
        total = sum(c.errors for c in own)
        if not total:
            found[distance] = Estimate(0.0, 0.0, max(_of_round(3.7 / c.shots, c.rounds) for c in own))
            continue
        start = math.log(_of_round(total / sum(c.shots for c in own), float(rounds.mean())))
        fitted = maximize(
            lambda x, rounds=rounds: _of_shot(np.exp(min(x[0], 0)), rounds), own, np.array([start])
        )
        log_rate = fitted.interval(0)
        found[distance] = Estimate(*(min(_exp(x), 0.5) for x in (log_rate.low, log_rate.best, log_rate.high)))
    return found


def _exp(x: float) -> float:
    """Infinite where it is too large for a number."""
    return math.exp(x) if x < _LARGEST_EXPONENT else math.inf


def _of_shot(per_round: np.ndarray | float, rounds: np.ndarray) -> np.ndarray:
    """Error rate of a shot whose rounds are wrong by themselves."""
    return -np.expm1(rounds * np.log1p(-2 * np.minimum(per_round, 0.4999))) / 2


def _of_round(per_shot: float, rounds: float) -> float:
    return -math.expm1(math.log1p(-2 * min(per_shot, 0.4999)) / rounds) / 2
