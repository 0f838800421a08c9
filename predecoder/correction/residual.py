"""What committed moves leave of a shot and what they flip: s XOR M y, and L y.

Whatever moves are committed, residual and flips describe the same shot.

Shape legend: B shots, M moves, D detectors, O observables.
"""

from __future__ import annotations

import numpy as np

import _qecpipe
from qec import MoveSet

__all__ = ["Residual"]


class Residual:
    """Applies moves to shots, at a cost that grows with the moves that are set."""

    def __init__(self, moves: MoveSet) -> None:
        self._tables = _qecpipe.MoveTables(
            moves.ends.astype(np.int32),
            moves.observables.indptr.astype(np.int32),
            moves.observables.indices.astype(np.int32),
            num_detectors=moves.matrix.shape[0],
            num_observables=moves.observables.shape[0],
        )

    def __call__(self, packed: np.ndarray, moves_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips, bit-packed.

        Args:
            packed: uint8 `(B, ceil(D / 8))`, LSB first.
            moves_BM: uint8 0/1 `(B, M)`.

        Returns:
            uint8 `(B, ceil(D / 8))` and `(B, ceil(O / 8))`, LSB first.

        Raises:
            ValueError: an array has another type or shape.
        """
        return self._tables.apply(packed, moves_BM)
