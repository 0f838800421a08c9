"""Fit the square lattice of a rotated surface code to detector coordinates."""

from __future__ import annotations

import numpy as np

__all__ = ["LayoutError", "ancilla_lattice", "patch_ancillas"]

_TOLERANCE = 1e-6


class LayoutError(ValueError):
    """The detectors do not form a rotated-surface-code memory experiment; the message says why."""


def ancilla_lattice(positions: np.ndarray, *, single_type: bool) -> np.ndarray:
    """Map positions `(n, 2)` to integer lattice coordinates (i, j) `(n, 2)`, smallest 0 on both axes.

    The ancillas of a rotated surface code, both types together, lie on a square lattice whose
    basis is the shortest vector between two of them and its rotation by 90 degrees; the lattice
    may stand at any angle (Google's device circuits use one turned by 45 degrees). Neighbours on
    it have opposite types, so (i + j) mod 2 is the stabilizer type. Where only one type has
    detectors (one round, or a circuit that declares one type), the shortest vector is a diagonal.

    Raises:
        LayoutError: fewer than three distinct positions, or a position off the lattice.
    """
    from scipy.spatial import cKDTree  # two thirds of the time that importing qec would take

    distinct = np.unique(np.round(positions, 9), axis=0)
    if len(distinct) < 3:
        raise LayoutError(
            f"detectors stand at {len(distinct)} distinct (x, y) positions; a patch of distance 3 has more"
        )
    distances, neighbours = cKDTree(distinct).query(distinct, k=2)
    start = int(np.argmin(np.round(distances[:, 1], 9)))
    u = distinct[neighbours[start, 1]] - distinct[start]
    if abs(u[0]) < abs(u[1]):
        u = np.array([u[1], -u[0]])
    if u[0] < 0:
        u = -u
    v = np.array([-u[1], u[0]])
    basis = np.array([u - v, u + v]) / 2 if single_type else np.array([u, v])
    lattice = (positions - distinct[0]) @ np.linalg.inv(basis)
    rounded = np.rint(lattice)
    worst = int(np.argmax(np.abs(lattice - rounded).max(axis=1)))
    if np.abs(lattice[worst] - rounded[worst]).max() > _TOLERANCE * 100:
        x, y = positions[worst]
        raise LayoutError(
            f"detector D{worst} at (x, y) = ({x:g}, {y:g}) is off the square lattice spanned by "
            f"({u[0]:g}, {u[1]:g}) and its rotation: this is not a rotated surface code"
        )
    return (rounded - rounded.min(axis=0)).astype(np.int64)


def patch_ancillas(rows: int, columns: int, *, first_column: int = 0) -> np.ndarray:
    """The ancillas of a rotated patch of (rows - 1) x (columns - 1) data qubits on a grid.

    In canonical form: even i + j is the type whose two-body stabilizers lie on the edges i = 0 and
    i = rows - 1; odd i + j the type on the other two edges.

    Returns:
        bool `(rows, first_column + columns)`; columns before `first_column` are empty.
    """
    i, j = np.indices((rows, first_column + columns))
    row_edge = (i == 0) | (i == rows - 1)
    column_edge = (j == first_column) | (j == first_column + columns - 1)
    return np.where((i + j) % 2 == 0, ~column_edge, ~row_edge) & (j >= first_column)
