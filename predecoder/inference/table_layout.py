"""How networks lay out a patch: cells of 2 x 2 ancillas.

Shape legend: T layers, (I, J) the ancilla grid.
"""

from __future__ import annotations

import numpy as np

__all__ = ["DETECTORS", "cells"]

DETECTORS = 4
"""Of a cell: the network's channels in, but for presence."""


def cells(grid_TIJ: np.ndarray) -> np.ndarray:
    """Fold a grid into cells of 2 x 2 ancillas: `(T, I, J)` -> `(T, 4, I / 2, J / 2)`."""
    layers, rows, columns = grid_TIJ.shape
    return (
        grid_TIJ.reshape(layers, rows // 2, 2, columns // 2, 2)
        .transpose(0, 2, 4, 1, 3)
        .reshape(layers, 4, rows // 2, columns // 2)
    )
