"""Which way syndrome extraction leans, and whether it resets its ancillas, read off a DEM's edges."""

from __future__ import annotations

import numpy as np

from qec.dem import DemTables

__all__ = ["CANONICAL_STEP", "lacks_reset", "schedule_direction"]

CANONICAL_STEP = np.array([1, -1])
"""Step from a detector to one of the next layer, on the canonical grid: rows and columns."""
_DIRECTIONS = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
_LEAST_SHARE = 0.01
"""Of the probability of flips that one ancilla sees twice, what a learned DEM may hold by chance."""


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
    step, probability = _steps(voxels, tables)
    votes = [
        probability[(step[:, 0] == 1) & (step[:, 1:] == direction).all(axis=1)].sum()
        for direction in _DIRECTIONS
    ]
    best = int(np.argmax(votes))
    # Sums of the same numbers in another order differ by rounding alone.
    return _DIRECTIONS[best] if votes[best] > votes[0] * (1 + 1e-9) else CANONICAL_STEP.copy()


def lacks_reset(voxels: np.ndarray, tables: DemTables) -> bool:
    """Whether wrong results are seen by detectors two layers apart, as where no ancilla is reset.

    Args:
        voxels: int64 `(num_detectors, 3)`: layer, row, column.
    """
    step, probability = _steps(voxels, tables)
    one_ancilla = (step[:, 1:] == 0).all(axis=1)
    skipping = probability[one_ancilla & (step[:, 0] == 2)].sum()
    return bool(skipping > _LEAST_SHARE * probability[one_ancilla].sum())


def _steps(voxels: np.ndarray, tables: DemTables) -> tuple[np.ndarray, np.ndarray]:
    """Steps of components that flip two detectors, and their probabilities.

    Returns:
        int64 `(n, 3)`, forward in time, and float64 `(n,)`.
    """
    matrix = tables.component_detectors
    probability = tables.components.astype(np.float64) @ tables.probabilities
    pairs = np.flatnonzero(np.diff(matrix.indptr) == 2)
    a, b = (voxels[matrix.indices[matrix.indptr[pairs] + k]] for k in (0, 1))
    step = b - a
    step *= np.where(step[:, :1] < 0, -1, 1)
    return step, probability[pairs]
