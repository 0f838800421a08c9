"""Matchings on logits.

Shape legend: B shots, C columns (places in a row of logits), D detectors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import _qecpipe

__all__ = ["Matched", "NativeMatching"]


class Matched(NamedTuple):
    """What became of some shots.

    Attributes:
        moves: uint8 0/1 `(B, C)`: committed moves; none in doubtful shots, nor in those unsolved.
        maximum_weight: float32 `(B,)`: of the heaviest cluster of flipped edges, 0 in shots unsolved.
        unsolved: bool `(B,)`: shots that would take long and are left to the caller.
    """

    moves: np.ndarray
    maximum_weight: np.ndarray
    unsolved: np.ndarray


class NativeMatching:
    """Matchings on logits in the order of some columns, which need not all be moves."""

    def __init__(self, ends: np.ndarray, *, num_detectors: int) -> None:
        """The graph of moves.

        Args:
            ends: int `(2, C)`: the detectors of a move, the second -1 where it has one, both -1 where the
                column is no move.
            num_detectors: D.

        Raises:
            ValueError: an end is not a detector.
        """
        self._matching = _qecpipe.MoveMatching(np.asarray(ends, dtype=np.int32), num_detectors=num_detectors)

    def __call__(self, logits: np.ndarray, packed: np.ndarray, *, abstain_above: float = np.inf) -> Matched:
        """Explains shots, of which each has the same result in any batch.

        Args:
            logits: float32 `(B, C)`.
            packed: uint8 `(B, ceil(D / 8))`, LSB first: detections.
            abstain_above: shots with a heavier cluster of flipped edges commit nothing.

        Raises:
            ValueError: an array has another type or shape.
        """
        return Matched(*self._matching.match(logits, packed, abstain_above=abstain_above))
