"""A logical error rate from independent repetitions, and what it is worth in errors counted directly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sims.rare.splitting import Repetition
from sims.statistics import CONFIDENCE, Estimate

__all__ = ["ENOUGH_ANCESTORS", "RareRate"]

ENOUGH_ANCESTORS = 50
"""A rate that rests on fewer is not to be relied on, nor is its interval."""


@dataclass(frozen=True)
class RareRate:
    """The mean of unbiased repetitions.

    Attributes:
        rate: with a 95 % interval, on the logarithm: Student's t of the repetitions' spread, or of what
            counting as many errors as there are ancestors would give, whichever is wider.
        effective_errors: errors of a direct sampling as precise as this, (1 - rate) / relative variance;
            never more than `ancestors`.
        ancestors: direct shots that the mean rests on, as `Repetition` counts them, over all repetitions.
    """

    rate: Estimate
    effective_errors: float
    ancestors: float

    @classmethod
    def of(cls, repetitions: Sequence[Repetition]) -> RareRate:
        """Their mean.

        Raises:
            ValueError: fewer than two, or none that found a failure.
        """
        from scipy.special import stdtrit

        largest = max((one.log_rate for one in repetitions), default=-math.inf)
        if len(repetitions) < 2 or largest == -math.inf:
            raise ValueError(
                f"{len(repetitions)} repetitions, the largest estimate {math.exp(largest):g}, are no result; "
                "a rate needs two of them and a failure: give more --repetitions or --chains"
            )
        scaled = np.exp(np.array([one.log_rate for one in repetitions]) - largest)
        mean = float(scaled.mean())
        best = mean * math.exp(largest)
        squares = sum(
            part**2 / one.ancestors for part, one in zip(scaled, repetitions, strict=True) if one.ancestors
        )
        ancestors = float(scaled.sum() ** 2 / squares)
        spread = float(scaled.var(ddof=1)) / len(scaled) / mean**2
        variance = max(spread, (1 - best) / ancestors)
        width = float(stdtrit(len(scaled) - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(math.log1p(variance))
        interval = Estimate(best * math.exp(-width), best, min(1.0, best * math.exp(width)))
        return cls(interval, (1 - best) / variance if variance else ancestors, ancestors)

    @property
    def reliable(self) -> bool:
        """Whether enough ancestors are left for the rate, and its interval, to be relied on."""
        return self.ancestors >= ENOUGH_ANCESTORS

    @property
    def counts(self) -> tuple[int, int]:
        """Shots and errors of a direct sampling of about this precision, whose ratio is the rate.

        For what knows counts only, as sinter's plots do; they are effective, no shot of them was sampled.
        """
        errors = max(1, round(self.effective_errors))
        return max(errors, round(errors / self.rate.best)), errors
