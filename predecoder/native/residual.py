"""Binding of `residual.cpp`: what `predecoder.correction.residual` does with sparse matrices.

Shape legend: B shots, M moves, D detectors, O observables.
"""

from __future__ import annotations

import ctypes

import numpy as np

from predecoder.native.arrays import address, checked
from predecoder.native.library import load_library
from qec import MoveSet

__all__ = ["NativeResidual"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


class NativeResidual:
    """Applies moves to shots, at a cost that grows with the moves that are set."""

    def __init__(self, moves: MoveSet) -> None:
        """Raises NativeUnavailableError; see `load_library`."""
        self._apply = load_library("residual").qecpipe_apply_moves
        self._apply.restype = None
        self._apply.argtypes = [
            *(_SIZE, _SIZE, _SIZE, _POINTER, _POINTER, _POINTER, _POINTER),
            *(_SIZE, _POINTER, _POINTER, _POINTER, _POINTER),
        ]
        self._sizes = (moves.num_moves, moves.matrix.shape[0], moves.observables.shape[0])
        self._tables = (
            *moves.ends,
            moves.observables.indptr.astype(np.int32),
            moves.observables.indices.astype(np.int32),
        )
        self._addresses = tuple(map(address, self._tables))

    def __call__(self, packed: np.ndarray, moves_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips, bit-packed.

        Args:
            packed: uint8 `(B, ceil(D / 8))`, LSB first.
            moves_BM: uint8 0/1 `(B, M)`.

        Returns:
            uint8 `(B, ceil(D / 8))` and `(B, ceil(O / 8))`, LSB first.
        """
        num_moves, num_detectors, num_observables = self._sizes
        shots = len(moves_BM)
        moves_BM = checked(moves_BM, np.uint8, (shots, num_moves))
        packed = checked(packed, np.uint8, (shots, -(-num_detectors // 8)))
        residual = np.empty_like(packed)
        flips = np.empty((shots, -(-num_observables // 8)), dtype=np.uint8)
        self._apply(
            *(*self._sizes, *self._addresses, shots),
            *(address(moves_BM), address(packed), address(residual), address(flips)),
        )
        return residual, flips
