"""Parities of sets of detectors, counted over bit-packed shots that stream by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from noise_learning.moments.subsets import Subsets

# Shots at a time: a block of parities (_ROWS sets of _CHUNK shots, packed) stays in the cache.
_CHUNK = 32_768
_ROWS = 128


@dataclass(frozen=True, eq=False)
class Moments:
    """How often each set of detectors had odd parity; adds over chunks, files and, weighted, over time.

    m_T = E[prod over i in T of (1 - 2 x_i)] = 1 - 2 odd_T / weight.

    Attributes:
        subsets: the sets T.
        odd: float64 (subsets,): total weight of the shots in which T fired an odd number of times.
        weight: total weight of the shots; their number where all weights are 1.
        weight_squares: sum of the squared weights of the shots.
    """

    subsets: Subsets
    odd: np.ndarray
    weight: float
    weight_squares: float

    def __post_init__(self) -> None:
        if self.odd.shape != (len(self.subsets),):
            raise ValueError(f"odd has shape {self.odd.shape}, but there are {len(self.subsets)} subsets")
        if not (self.weight >= 0 and self.weight_squares >= 0):
            raise ValueError(f"{self.weight=} and {self.weight_squares=} must not be negative")

    @classmethod
    def zero(cls, subsets: Subsets) -> Moments:
        """Return the moments of no shots at all."""
        return cls(subsets, np.zeros(len(subsets)), 0.0, 0.0)

    @classmethod
    def from_shots(cls, subsets: Subsets, shots: np.ndarray | Iterable[np.ndarray]) -> Moments:
        """Counts detection events, one array or a stream of them (such as `qec.iter_shots`).

        Args:
            subsets: sets whose parity is counted, such as `Structure.subsets`.
            shots: uint8 (shots, ceil(num_detectors / 8)), little-endian bits, or an iterable of such
                arrays; each is read before the next is asked for.

        Raises:
            ValueError: an array of another dtype or shape.
        """
        odd = np.zeros(len(subsets), dtype=np.int64)
        total = 0
        for array in [shots] if isinstance(shots, np.ndarray) else shots:
            _check(array, subsets.num_detectors)
            for start in range(0, len(array), _CHUNK):
                _count(array[start : start + _CHUNK], subsets, odd)
            total += len(array)
        return cls(subsets, odd.astype(np.float64), float(total), float(total))

    def __add__(self, other: Moments) -> Moments:
        """Moments of both sets of shots.

        Raises:
            ValueError: they count other subsets.
        """
        if self.subsets is not other.subsets and self.subsets.digest != other.subsets.digest:
            raise ValueError(
                f"moments of {len(self.subsets)} and of {len(other.subsets)} subsets of detectors are not of "
                "the same structure and do not add; count both with one Structure.subsets"
            )
        return Moments(
            self.subsets,
            self.odd + other.odd,
            self.weight + other.weight,
            self.weight_squares + other.weight_squares,
        )

    def scaled(self, factor: float) -> Moments:
        """The same shots, each with `factor` times its weight: old ones fade in a moving average.

        Raises:
            ValueError: factor not finite or negative.
        """
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"{factor=} is not a weight; use a finite number >= 0")
        return Moments(self.subsets, factor * self.odd, factor * self.weight, factor**2 * self.weight_squares)

    def restricted_to(self, subsets: Subsets) -> Moments:
        """Moments of some of the subsets.

        Raises:
            ValueError: one of them was not counted.
        """
        if subsets is self.subsets:
            return self
        try:
            rows = [self.subsets.index[subsets.detectors(k)] for k in range(len(subsets))]
        except KeyError as error:
            raise ValueError(
                f"the parity of detectors {list(error.args[0])} was not counted; count moments with the "
                "structure's own subsets"
            ) from error
        return Moments(subsets, self.odd[rows], self.weight, self.weight_squares)

    @property
    def effective_shots(self) -> float:
        """N_eff = (sum of weights)^2 / sum of squared weights: unweighted shots of equal variance."""
        return self.weight**2 / self.weight_squares if self.weight_squares else 0.0

    @property
    def means(self) -> np.ndarray:
        """m_T, float64 (subsets,), in [-1, 1].

        Raises:
            ValueError: no shots.
        """
        if not self.weight:
            raise ValueError("no shots were counted (weight 0); moments need at least one")
        return 1 - 2 * self.odd / self.weight


def _check(array: np.ndarray, num_detectors: int) -> None:
    width = -(-num_detectors // 8)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"shots are {array.dtype} of shape {array.shape}; {num_detectors} detectors need bit-packed "
            f"uint8 of shape (shots, {width})"
        )


def _count(shots: np.ndarray, subsets: Subsets, odd: np.ndarray) -> None:
    """Adds the odd parities of a chunk to `odd`."""
    columns = _transposed(shots, subsets.num_detectors)
    for start in range(0, len(subsets), _ROWS):
        rows = subsets.members[start : start + _ROWS]
        parity = columns[rows[:, 0]]
        for k in range(1, int(subsets.sizes[start : start + _ROWS].max())):
            parity ^= columns[rows[:, k]]  # the padding is a column of zeros
        odd[start : start + _ROWS] += np.bitwise_count(parity).sum(axis=1, dtype=np.int64)


def _transposed(shots: np.ndarray, num_detectors: int) -> np.ndarray:
    """uint64 (num_detectors + 1, ceil(shots / 64)): a detector's shots along bits; the last row is zero."""
    words = -(-len(shots) // 64)
    columns = np.zeros((num_detectors + 1, 8 * words), dtype=np.uint8)
    for first in range(0, shots.shape[1], 8):  # eight bytes of detectors at a time bound the memory
        bits = np.unpackbits(shots[:, first : first + 8], axis=1, bitorder="little")
        packed = np.packbits(np.ascontiguousarray(bits.T), axis=1, bitorder="little")
        here = columns[8 * first : min(8 * first + len(packed), num_detectors)]
        here[:, : packed.shape[1]] = packed[: len(here)]
    return columns.view(np.uint64)
