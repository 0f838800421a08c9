"""The residual syndrome as stencils on the space-time grid: s XOR M y and L y without a matrix.

Shape legend: B shots, (T, I, J) the grid of `DetectorLayout`, O observables. Everything is 0/1 uint8.
"""

from __future__ import annotations

import math

import numpy as np

from qec import DetectorLayout, MoveSet

__all__ = ["ResidualStencil", "StencilOnRows"]


class ResidualStencil:
    """Applies proposed moves to a shot: what they leave of the syndrome, and what they flip.

    Whatever moves are proposed, residual and flips describe the same shot: a move that does not
    exist (`DetectorLayout.move_mask`) is ignored in both.
    """

    def __init__(self, layout: DetectorLayout) -> None:
        self._layout = layout
        self._mask = layout.move_mask.astype(np.uint8)
        parity = np.indices(layout.shape[1:]).sum(axis=0) % 2
        # 1 where an ancilla of the type that sees a data flip of this kind may stand.
        self._type = np.stack([parity == 0, parity == 1]).astype(np.uint8)
        self._observables = layout.observable_masks.astype(np.uint8)

    def flipped_detectors(self, moves: np.ndarray) -> np.ndarray:
        """M y: uint8 `(B, 3, T, I, J)` -> uint8 `(B, num_detectors)`."""
        moves = moves & self._mask
        grid = np.zeros((len(moves), *self._layout.shape), dtype=np.uint8)
        for kind in (0, 1):
            data = moves[:, kind]
            seen = data.copy()
            seen[:, :, 1:] ^= data[:, :, :-1]
            seen[:, :, :, 1:] ^= data[:, :, :, :-1]
            seen[:, :, 1:, 1:] ^= data[:, :, :-1, :-1]
            seen &= self._type[kind]
            grid ^= seen
        grid ^= moves[:, 2]
        grid[:, 1:] ^= moves[:, 2, :-1]
        return grid.reshape(len(moves), math.prod(self._layout.shape))[:, self._layout.flat_voxels]

    def flipped_observables(self, moves: np.ndarray) -> np.ndarray:
        """L y: uint8 `(B, 3, T, I, J)` -> uint8 `(B, num_observables)`."""
        data = np.bitwise_xor.reduce(moves[:, :2] & self._mask[:2], axis=2)
        hits = data[:, None] & self._observables
        return np.bitwise_xor.reduce(hits, axis=(2, 3, 4))

    def __call__(self, packed: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips, bit-packed.

        Args:
            packed: uint8 `(B, ceil(num_detectors / 8))`, LSB first.
            moves: uint8 0/1 `(B, 3, T, I, J)`.

        Returns:
            uint8 `(B, ceil(num_detectors / 8))` and `(B, ceil(num_observables / 8))`, LSB first.
        """
        change = np.packbits(self.flipped_detectors(moves), axis=1, bitorder="little")
        flips = np.packbits(self.flipped_observables(moves), axis=1, bitorder="little")
        return packed ^ change, flips


class StencilOnRows:
    """`ResidualStencil` on moves in the order of `MoveSet`."""

    def __init__(self, layout: DetectorLayout, moves: MoveSet) -> None:
        self._stencil, self._shape, self._positions = (
            ResidualStencil(layout),
            layout.move_mask.shape,
            moves.positions,
        )

    def __call__(self, packed: np.ndarray, moves_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual syndrome and observable flips, bit-packed, of uint8 0/1 moves `(B, M)`."""
        grid = np.zeros((len(moves_BM), math.prod(self._shape)), dtype=np.uint8)
        grid[:, self._positions] = moves_BM
        return self._stencil(packed, grid.reshape(len(grid), *self._shape))
