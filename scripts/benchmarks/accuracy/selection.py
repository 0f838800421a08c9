"""Sampled shots of an experiment, of which doubtful ones and a share of the others are decoded.

See `global_decoders.DoubtfulShots`: all decoders see the same shots, and estimates are unbiased for each.
Shape legend: B shots that are decoded, D detectors, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import stim

from global_decoders import DoubtfulShots

__all__ = ["Counted", "Pair", "SelectedShots", "Selection"]

Pair = tuple[float, float] | list[float]
"""Counts among doubtful shots, and among the others that were decoded."""


@dataclass(frozen=True)
class Counted:
    """Shots of an experiment; they add.

    Attributes:
        shots: that were sampled.
        doubtful: of them, all of which are decoded.
        others: of the rest, that are decoded.

    Raises:
        ValueError: none of the rest is decoded, or more than there are.
    """

    shots: int = 0
    doubtful: int = 0
    others: int = 0

    def __post_init__(self) -> None:
        rest = self.shots - self.doubtful
        if not 0 <= self.others <= rest or (rest and not self.others):
            raise ValueError(f"{self} does not decode a part of its {rest} other shots")

    def __add__(self, more: Counted) -> Counted:
        return Counted(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(self)))

    @property
    def weight(self) -> float:
        """Shots that each of `others` counts for."""
        return (self.shots - self.doubtful) / self.others if self.others else 1.0

    def estimate(self, counts: Pair) -> float:
        """How many of all shots there are."""
        return counts[0] + self.weight * counts[1]

    def variance(self, counts: Pair) -> float:
        """Of `estimate`, where what is counted is rare."""
        return counts[0] + self.weight**2 * counts[1]


@dataclass(frozen=True, eq=False)
class SelectedShots:
    """The shots of a chunk that are decoded, doubtful ones first.

    Attributes:
        packed, truth: detections `(B, ceil(D / 8))` and observable flips `(B, ceil(O / 8))`.
        counted: how many there are of which kind.
    """

    packed: np.ndarray
    truth: np.ndarray
    counted: Counted

    @property
    def parts(self) -> tuple[slice, slice]:
        """Doubtful shots, and others."""
        return slice(0, self.counted.doubtful), slice(self.counted.doubtful, None)


class Selection:
    """Samples an experiment and selects from it."""

    def __init__(self, circuit: stim.Circuit, doubtful: DoubtfulShots) -> None:
        """Remember both; `doubtful` is of the circuit's DEM."""
        self._circuit, self._doubtful = circuit, doubtful

    def sample(self, shots: int, *, seed: int) -> SelectedShots:
        """As many shots of a seed, and those of them that are decoded."""
        packed, truth = self._circuit.compile_detector_sampler(seed=seed).sample(
            shots, separate_observables=True, bit_packed=True
        )
        chosen = self._doubtful.choose(packed)
        counted = Counted(shots, len(chosen.doubtful), len(chosen.others))
        return SelectedShots(packed[chosen.numbers], truth[chosen.numbers], counted)
