"""The threshold: the physical error rate at which the logical one does not depend on the distance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sims.fits.likelihood import Counts, Goodness, maximize
from sims.statistics import Estimate

__all__ = ["Threshold", "fit_threshold"]

_PARAMETERS = 5


@dataclass(frozen=True)
class Threshold:
    """Finite-size scaling: LER of a shot = a + b x + c x^2 with x = (p - threshold) d^(1 / exponent).

    Wang, Harrington and Preskill (doi:10.1016/S0003-4916(02)00019-2). It holds close to the
    threshold, for shots of d rounds: leave out error rates far from it if the goodness says that it does not.

    Attributes:
        p: the threshold with its 95 % interval.
        exponent: ν with its interval.
        at_threshold: a.
    """

    p: Estimate
    exponent: Estimate
    at_threshold: float
    goodness: Goodness


def fit_threshold(counts: Iterable[Counts]) -> Threshold:
    """Fit counts of several distances and physical error rates.

    Raises:
        ValueError: fewer than two distances or three error rates, too few counts, or the curves do not cross
            between the error rates.
    """
    counts = list(counts)
    distances, rates = ({getattr(c, name) for c in counts} for name in ("distance", "p"))
    if len(distances) < 2 or len(rates) < 3 or len(counts) <= _PARAMETERS:
        raise ValueError(
            "a threshold needs two distances and three error rates or more, here are "
            f"{sorted(distances)} and {sorted(rates)}: sweep more --distance or --p"
        )
    p = np.array([c.p for c in counts])
    distance = np.array([c.distance for c in counts], dtype=float)
    observed = np.array([c.errors / c.shots for c in counts])

    def design(threshold: float, exponent: float) -> np.ndarray:
        x = (p - threshold) * distance ** (1 / exponent)
        return np.stack([np.ones_like(x), x, x**2], axis=1)

    def rate_of(parameters: np.ndarray) -> np.ndarray:
        return design(parameters[0], float(np.clip(parameters[1], 0.2, 20.0))) @ parameters[2:]

    starts = []
    for threshold in np.linspace(min(rates), max(rates), 25):
        for exponent in (1.0, 1.5):
            of = design(threshold, exponent)
            terms, *_ = np.linalg.lstsq(of, observed, rcond=None)
            starts.append((float(((of @ terms - observed) ** 2).sum()), [threshold, exponent, *terms]))
    fitted = maximize(rate_of, counts, np.array(min(starts)[1]))
    threshold = float(fitted.parameters[0])
    if not min(rates) < threshold < max(rates):
        raise ValueError(
            f"the curves do not cross between p = {min(rates):g} and {max(rates):g} (the fit says "
            f"{threshold:.3g}): sweep --p on both sides of the threshold"
        )
    if fitted.parameters[3] <= 0:
        raise ValueError(
            f"the logical error rate does not grow with p near p = {threshold:.3g}: sweep --p closer to the "
            "threshold, or more --max-shots"
        )
    return Threshold(fitted.interval(0), fitted.interval(1), float(fitted.parameters[2]), fitted.goodness)
