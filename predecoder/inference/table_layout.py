"""How native engines lay out a patch: cells of 2 x 2 ancillas, and the move of each of their channels.

Shape legend: T layers, (I, J) the ancilla grid.
"""

from __future__ import annotations

import numpy as np

from qec import DetectorLayout, MoveSet

__all__ = ["DETECTORS", "MOVES", "cells", "targets"]

DETECTORS, MOVES = 4, 12
"""Detectors and moves of a cell: the network's channels in, but for presence, and out."""


def cells(grid_TIJ: np.ndarray) -> np.ndarray:
    """Fold a grid into cells of 2 x 2 ancillas: `(T, I, J)` -> `(T, 4, I / 2, J / 2)`."""
    layers, rows, columns = grid_TIJ.shape
    return (
        grid_TIJ.reshape(layers, rows // 2, 2, columns // 2, 2)
        .transpose(0, 2, 4, 1, 3)
        .reshape(layers, 4, rows // 2, columns // 2)
    )


def targets(layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """Map every channel of every cell to its move, or to -1: int32 `(T, I / 2, 12, J / 2)`."""
    kind, t, i, j = np.unravel_index(moves.positions, layout.move_mask.shape)
    layers, rows, columns = layout.shape
    table = np.full((layers, rows // 2, MOVES, columns // 2), -1, dtype=np.int32)
    table[t, i // 2, 4 * kind + 2 * (i % 2) + j % 2, j // 2] = np.arange(moves.num_moves)
    return table
