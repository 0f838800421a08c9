"""What committed moves leave of a shot and what they flip: s XOR M y, and L y.

Whatever moves are committed, residual and flips describe the same shot.

Shape legend: B shots, M moves, D detectors, O observables.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse as sp

from predecoder.native import NativeResidual
from qec import MoveSet

__all__ = ["ApplyMoves", "SparseResidual", "make_residual"]


class ApplyMoves(Protocol):
    """Applies moves to shots."""

    def __call__(self, packed: np.ndarray, moves_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips, bit-packed.

        Args:
            packed: uint8 `(B, ceil(D / 8))`, LSB first.
            moves_BM: uint8 0/1 `(B, M)`.

        Returns:
            uint8 `(B, ceil(D / 8))` and `(B, ceil(O / 8))`, LSB first.
        """
        ...


class SparseResidual:
    """Applies moves by the sparse matrices of a `MoveSet`."""

    def __init__(self, moves: MoveSet) -> None:
        self._detectors = sp.csr_matrix(moves.matrix.T, dtype=np.int32)
        self._observables = sp.csr_matrix(moves.observables.T, dtype=np.int32)

    def __call__(self, packed: np.ndarray, moves_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips; see `ApplyMoves`."""
        moves = sp.csr_matrix(moves_BM, dtype=np.int32)
        change, flips = (
            np.packbits(((moves @ of_moves).toarray() & 1).astype(np.uint8), axis=1, bitorder="little")
            for of_moves in (self._detectors, self._observables)
        )
        return packed ^ change, flips


def make_residual(moves: MoveSet, *, native: bool = True) -> ApplyMoves:
    """The fastest that applies moves; `native` says whether C++ may be used."""
    return NativeResidual(moves) if native else SparseResidual(moves)
