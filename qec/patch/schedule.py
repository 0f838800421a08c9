"""Which way the syndrome-extraction schedule leans, read off a DEM's edges."""

from __future__ import annotations

import numpy as np

from qec.dem import DemTables

__all__ = ["CANONICAL_STEP", "schedule_direction"]

CANONICAL_STEP = np.array([1, -1])
"""Step from a detector to one of the next layer, on the canonical grid: rows and columns."""
_DIRECTIONS = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])


def schedule_direction(voxels: np.ndarray, tables: DemTables) -> np.ndarray:
    """The likeliest step (di, dj) from a detector to one of the next layer: int64 `(2,)` of 1 and -1.

    A data qubit that flips in the middle of a round is seen now by the ancilla that meets it later
    and in the next round by the one that met it before. Its two ancillas of one type stand
    diagonally, and those that meet it first and last leave the most time for a flip between them.

    Args:
        voxels: int64 `(num_detectors, 3)`: layer, row, column.

    Returns:
        The step of most probability; (1, -1) where no component has such a step or all are alike.
    """
    matrix = tables.component_detectors
    probability = tables.components.astype(np.float64) @ tables.probabilities
    pairs = np.flatnonzero(np.diff(matrix.indptr) == 2)
    a, b = (voxels[matrix.indices[matrix.indptr[pairs] + k]] for k in (0, 1))
    step = b - a
    step *= np.where(step[:, :1] < 0, -1, 1)
    votes = [
        probability[pairs[(step[:, 0] == 1) & (step[:, 1:] == direction).all(axis=1)]].sum()
        for direction in _DIRECTIONS
    ]
    best = int(np.argmax(votes))
    # Sums of the same numbers in another order differ by rounding alone.
    return _DIRECTIONS[best] if votes[best] > votes[0] * (1 + 1e-9) else CANONICAL_STEP.copy()
