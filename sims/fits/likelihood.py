"""Binomial maximum likelihood for a few parameters, with intervals of the profile likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, least_squares
from scipy.special import xlogy
from scipy.stats import chi2

from sims.statistics import CONFIDENCE, Estimate

__all__ = ["Counts", "Fitted", "Goodness", "maximize"]

_SMALLEST_RATE = 1e-15
_WIDEST = 60
"""How often a step away from the best value is doubled in search of an interval's end."""


@dataclass(frozen=True)
class Counts:
    """Logical errors of one experiment.

    Attributes:
        distance: of the code.
        rounds: of every shot.
        p: physical error rate.
        errors, shots: of the shots that were kept.
    """

    distance: int
    rounds: int
    p: float
    errors: int
    shots: int

    def __post_init__(self) -> None:
        if not 0 <= self.errors <= self.shots or self.shots < 1:
            raise ValueError(
                f"{self.errors} errors of {self.shots} shots; use some shots, and no more errors"
            )


@dataclass(frozen=True)
class Goodness:
    """How far counts are from a model.

    Attributes:
        deviance: twice the log-likelihood that is lost; about chi-squared distributed if the model holds.
        freedom: counts less parameters.
    """

    deviance: float
    freedom: int

    @property
    def p_value(self) -> float:
        """Chance of counts as far from the model as these, if it holds; 1 where nothing is left to test."""
        return float(chi2.sf(self.deviance, self.freedom)) if self.freedom else 1.0


@dataclass(frozen=True)
class Fitted:
    """The likeliest parameters and the function that was minimized."""

    parameters: np.ndarray
    goodness: Goodness
    _residuals: Callable[[np.ndarray], np.ndarray]

    def interval(self, which: int) -> Estimate:
        """The 95 % interval of one parameter: what the others can make as likely as chi-squared allows.

        An end is infinite where no value is unlikely enough.
        """
        best = float(self.parameters[which])
        return Estimate(self._end(which, -1.0), best, self._end(which, 1.0))

    def _end(self, which: int, sign: float) -> float:
        best = float(self.parameters[which])
        others = np.delete(self.parameters, which)
        allowed = self.goodness.deviance + float(chi2.ppf(CONFIDENCE, 1))

        def excess(value: float) -> float:
            def of_others(x: np.ndarray) -> np.ndarray:
                return self._residuals(np.insert(x, which, value))

            return _least(of_others, others)[1] - allowed

        inside, step = best, sign * max(abs(best), 1e-3) * 1e-3
        for _ in range(_WIDEST):
            outside = inside + step
            if excess(outside) > 0:
                return float(brentq(excess, min(inside, outside), max(inside, outside), rtol=1e-6))
            inside, step = outside, 2 * step
        return sign * math.inf


def maximize(rate_of: Callable[[np.ndarray], np.ndarray], counts: list[Counts], start: np.ndarray) -> Fitted:
    """The parameters under which the counts are likeliest.

    Args:
        rate_of: error rate of a shot of each of `counts`, of parameters.
        start: parameters to begin with.
    """
    errors, shots = (
        np.array([getattr(c, name) for c in counts], dtype=float) for name in ("errors", "shots")
    )

    def residuals(parameters: np.ndarray) -> np.ndarray:
        """Signed roots of the deviances: their squares add up to what is minimized."""
        rate = np.clip(rate_of(parameters), _SMALLEST_RATE, 1 - _SMALLEST_RATE)
        lost = xlogy(errors, errors / shots) - xlogy(errors, rate)
        lost += xlogy(shots - errors, 1 - errors / shots) - xlogy(shots - errors, 1 - rate)
        return np.sign(errors / shots - rate) * np.sqrt(2 * np.maximum(lost, 0))

    best, deviance = _least(residuals, start)
    return Fitted(best, Goodness(deviance, len(counts) - len(start)), residuals)


def _least(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> tuple[np.ndarray, float]:
    if not len(start):
        return start, float((residuals(start) ** 2).sum())
    found = least_squares(residuals, start, x_scale=np.maximum(np.abs(start), 1e-3), xtol=1e-12, ftol=1e-12)
    return found.x, 2 * float(found.cost)
