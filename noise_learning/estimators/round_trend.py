"""How rates change from round to round, as leakage makes them: a straight line per number of detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noise_learning.estimators.time_classes import SOFTENING, MeasuredSets, TimeClasses

__all__ = ["RoundTrend"]


@dataclass(frozen=True)
class RoundTrend:
    """Relative change of the attenuations of sets of one number of detectors, per round.

    Attributes:
        slope: such as 0.01 where rates grow by 1 % of their mean over the rounds with every round.
        sigma: its standard error from sampling alone.
    """

    slope: float
    sigma: float

    @classmethod
    def by_size(cls, sets: MeasuredSets, classes: TimeClasses, centre: np.ndarray) -> dict[int, RoundTrend]:
        """Weighted least squares on the deviations of sets from the means of their classes.

        Args:
            centre: float64 (classes,), what attenuations of each class are about, > 0.
        """
        number = classes.number
        around = centre[number]
        change, error = (sets.a - classes.mean[number]) / around, sets.variance / around**2
        rounds = sets.time - classes.time[number]
        weight = 1 / (error + SOFTENING**2)
        found: dict[int, RoundTrend] = {}
        for size in np.unique(sets.size):
            of = (sets.size == size) & (rounds != 0)
            lever = weight[of] * rounds[of]
            spread = float(lever @ rounds[of])
            if spread > 0:
                slope = float(lever @ change[of]) / spread
                found[int(size)] = cls(slope, float(np.sqrt(lever**2 @ error[of])) / spread)
        return found
