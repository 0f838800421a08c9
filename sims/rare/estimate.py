"""A logical error rate from independent repetitions, and what it is worth in errors counted directly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sims.statistics import CONFIDENCE, Estimate

__all__ = ["RareRate"]


@dataclass(frozen=True)
class RareRate:
    """The mean of unbiased repetitions.

    Attributes:
        rate: with a 95 % interval: Student's t of the repetitions' spread, on the logarithm.
        effective_errors: errors of a direct sampling as precise as this: (1 - rate) / relative variance.
    """

    rate: Estimate
    effective_errors: float

    @classmethod
    def of(cls, log_rates: Sequence[float]) -> RareRate:
        """Of the logarithms of the repetitions' estimates.

        Raises:
            ValueError: fewer than two, or none that found a failure.
        """
        from scipy.special import stdtrit

        largest = max(log_rates, default=-math.inf)
        if len(log_rates) < 2 or largest == -math.inf:
            raise ValueError(
                f"{len(log_rates)} repetitions, the largest estimate {math.exp(largest):g}, are no result; a "
                "rate needs two of them and a failure: give more --repetitions or --chains"
            )
        scaled = np.exp(np.asarray(log_rates) - largest)
        mean = float(scaled.mean())
        variance = float(scaled.var(ddof=1)) / len(scaled) / mean**2
        width = float(stdtrit(len(scaled) - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(math.log1p(variance))
        best = mean * math.exp(largest)
        effective = (1 - best) / variance if variance else math.inf
        return cls(Estimate(best * math.exp(-width), best, min(1.0, best * math.exp(width))), effective)

    @property
    def counts(self) -> tuple[int, int]:
        """Shots and errors of a direct sampling of about this precision, whose ratio is the rate.

        For what knows counts only, as sinter's plots do; they are effective, no shot of them was sampled.
        """
        errors = max(1, round(min(self.effective_errors, 1e9)))
        return max(errors, round(errors / self.rate.best)), errors
