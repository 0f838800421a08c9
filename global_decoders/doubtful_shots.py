"""Which of many simulated shots are worth decoding: all doubtful ones, and a share of the others.

Most shots of a good code are ones that hardly any decoder gets wrong: those where plain matching finds one
logical class much lighter than the other. Of these, one in sixteen is decoded and counts for all sixteen.
Estimates stay unbiased, whatever the decoder, as the gap of plain matching is a function of the syndrome
alone, and take part of the time: at d = 9, p = 0.003 a tenth of the shots are decoded, at 0.006 two fifths.

Shape legend: B shots, D detectors. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from global_decoders.matching import Matcher, MatchingGraph
from qec import NormalForm

__all__ = ["ChosenShots", "DoubtfulShots"]

PLAIN_GAP = 8.0
"""Nats between the classes of plain matching below which a shot is doubtful. Of the shots that a network or
correlated matching gets wrong, one or two of a hundred have more."""
SHARE = 16
"""Of the others, one in so many is decoded."""


@dataclass(frozen=True, eq=False)
class ChosenShots:
    """Which of B shots are decoded.

    Attributes:
        doubtful: int64: the doubtful ones, all of them.
        others: int64: some of the others.
        shots: B.
    """

    doubtful: np.ndarray
    others: np.ndarray
    shots: int

    @property
    def numbers(self) -> np.ndarray:
        """Of all that are decoded, doubtful ones first: int64."""
        return np.concatenate([self.doubtful, self.others])

    @property
    def weights(self) -> np.ndarray:
        """How many shots each of `numbers` counts for, float64; their sum is B."""
        rest = self.shots - len(self.doubtful)
        weight = rest / len(self.others) if len(self.others) else 0.0
        return np.repeat([1.0, weight], [len(self.doubtful), len(self.others)])


class DoubtfulShots:
    """Chooses among the shots of a DEM. Where plain matching has no classes, all shots are doubtful."""

    def __init__(self, normal: NormalForm, *, plain_gap: float = PLAIN_GAP, share: int = SHARE) -> None:
        """Prepare plain matching.

        Args:
            normal: of the DEM; shots are those of `normal.dem`.
            plain_gap: nats from which on a shot is not doubtful; infinite for none.
            share: see `SHARE`.

        Raises:
            ValueError: no positive gap, or a share below 1.
        """
        if not plain_gap > 0 or share < 1:
            raise ValueError(f"{plain_gap=}, {share=}: give a gap above 0 and a share from 1 on")
        self._observables, self._limit, self._share = range(normal.num_observables), plain_gap, share
        self._matcher = None if math.isinf(plain_gap) else _matcher(normal)

    def choose(self, packed: np.ndarray) -> ChosenShots:
        """Which of shots `(B, ceil(D / 8))` are decoded."""
        doubtful = np.full(len(packed), self._matcher is None)
        if self._matcher is not None:
            for k in self._observables:
                gap = self._matcher.gap(packed, observable=k, limit=self._limit)
                doubtful |= ~(np.abs(gap) >= self._limit)  # or nothing explains the shot
        others = np.flatnonzero(~doubtful)[:: self._share]
        return ChosenShots(np.flatnonzero(doubtful), others, len(packed))


def _matcher(normal: NormalForm) -> Matcher | None:
    """None where a component of a mechanism is no edge, or a cycle of edges flips an observable."""
    try:
        matcher = Matcher(MatchingGraph.of_normal_form(normal, decomposed=True))
        nothing = np.zeros((0, -(-normal.num_detectors // 8)), dtype=np.uint8)
        for k in range(normal.num_observables):
            matcher.gap(nothing, observable=k)
    except ValueError:  # which all of these are, and nothing else here
        return None
    return matcher
