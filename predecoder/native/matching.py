"""Binding of `matching.cpp`.

Shape legend: B shots, C columns (places in a row of logits), D detectors.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from predecoder.native.arrays import address, checked
from predecoder.native.library import load_library

__all__ = ["Matched", "NativeMatching"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


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
            NativeUnavailableError: see `load_library`.
            ValueError: an end is not a detector.
        """
        if ends.max(initial=-1) >= num_detectors:
            raise ValueError(f"a move ends on D{ends.max()}, but D{num_detectors - 1} is the last detector")
        self._match = load_library("matching").qecpipe_match
        self._match.restype = _SIZE
        self._match.argtypes = [
            *(_SIZE, _SIZE, _POINTER, _POINTER, _POINTER, _POINTER),
            *(_SIZE, _POINTER, _POINTER, ctypes.c_double, _POINTER, _POINTER, _POINTER),
        ]
        self._num_detectors = num_detectors
        self._ends = np.ascontiguousarray(ends, dtype=np.int32)
        # Every move is an arc from each of its detectors to its other end.
        column = np.concatenate([np.flatnonzero(self._ends[k] >= 0) for k in (0, 1)])
        count = int((self._ends[0] >= 0).sum())
        source = np.concatenate([self._ends[0, column[:count]], self._ends[1, column[count:]]])
        target = np.concatenate([self._ends[1, column[:count]], self._ends[0, column[count:]]])
        order = np.lexsort((column, source))
        self._arcs = np.ascontiguousarray(np.stack([target, column], axis=1)[order], dtype=np.int32)
        self._starts = np.searchsorted(source[order], np.arange(num_detectors + 1)).astype(np.int32)
        self._graph = tuple(map(address, (*self._ends, self._starts, self._arcs)))

    def __call__(self, logits: np.ndarray, packed: np.ndarray, *, abstain_above: float = np.inf) -> Matched:
        """Explains shots, of which each has the same result in any batch.

        Args:
            logits: float32 `(B, C)`.
            packed: uint8 `(B, ceil(D / 8))`, LSB first: detections.
            abstain_above: shots with a heavier cluster of flipped edges commit nothing.
        """
        shots, columns = len(logits), self._ends.shape[1]
        logits = checked(logits, np.float32, (shots, columns))
        packed = checked(packed, np.uint8, (shots, -(-self._num_detectors // 8)))
        moves = np.empty((shots, columns), dtype=np.uint8)
        maximum, unsolved = np.empty(shots, dtype=np.float32), np.empty(shots, dtype=bool)
        self._match(
            *(columns, self._num_detectors, *self._graph),
            *(shots, address(logits), address(packed), abstain_above),
            *(address(moves), address(maximum), address(unsolved)),
        )
        return Matched(moves, maximum, unsolved)
