"""Place the ancillas of a rotated patch on the canonical grid.

Ancilla (i, j) is a lattice point. The grid's symmetries are those of a rectangle; which of them is used is
decided by the types of the stabilizers on the patch's edges and by the syndrome-extraction schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qec.dem import DemTables
from qec.patch.lattice import LayoutError, ancilla_lattice, patch_ancillas
from qec.patch.schedule import CANONICAL_STEP, schedule_direction

__all__ = ["MEMORY", "OTHER", "PlacedPatch", "place_on_grid"]

MEMORY, OTHER = 0, 1
"""Stabilizer types: those the observable's flips are seen by, and the others."""


@dataclass(frozen=True, eq=False)
class PlacedPatch:
    """Where a patch's ancillas stand on the canonical grid.

    Attributes:
        ij: int64 `(num_detectors, 2)`: row and column of each detector's ancilla.
        rows, columns: number of ancilla rows and columns.
        first_column: the grid column in which the patch begins, 0 or 1.
    """

    ij: np.ndarray
    rows: int
    columns: int
    first_column: int

    @property
    def ancillas(self) -> np.ndarray:
        """bool `(rows, first_column + columns)`: where an ancilla of either type stands."""
        return patch_ancillas(self.rows, self.columns, first_column=self.first_column)


def place_on_grid(t: np.ndarray, positions: np.ndarray, tables: DemTables) -> PlacedPatch:
    """Find the canonical form of a patch; `DetectorLayout` says what that is.

    Args:
        t: int64 `(num_detectors,)`: layers.
        positions: float64 `(num_detectors, 2)`: (x, y) of each detector, in any coordinate system.
        tables: of the DEM.

    Raises:
        LayoutError: the positions are not those of a rotated patch, or the stabilizers of the first
            layer are not those that see the observables' flips.
    """
    try:
        return _both_types(t, positions, tables)
    except LayoutError as error:
        try:
            return _memory_type_only(t, positions, tables)
        except LayoutError:
            raise error from None


def _both_types(t: np.ndarray, positions: np.ndarray, tables: DemTables) -> PlacedPatch:
    ij = ancilla_lattice(positions, single_type=False)
    memory_parity = _memory_parity(t, ij.sum(axis=1) % 2, tables)
    edge = ij[ij[:, 0] == 0].sum(axis=1) % 2
    if np.all(edge != memory_parity):
        ij = ij[:, ::-1]
    rows, columns = (int(n) + 1 for n in ij.max(axis=0))
    placed = _canonical(t, ij, rows, columns, memory_parity, tables)
    _check_patch(placed, types=(MEMORY, OTHER))
    _check_first_layer(t, placed)
    return placed


def _memory_type_only(t: np.ndarray, positions: np.ndarray, tables: DemTables) -> PlacedPatch:
    """Like `_both_types` where only MEMORY type has detectors, as with a single round.

    The missing type's two-body stabilizers would stand one column further out on both sides.
    """
    if len(np.unique(positions[t == 0], axis=0)) != len(np.unique(positions, axis=0)):
        raise LayoutError("only some ancillas have a detector in the first layer, so there are two types")
    ij = ancilla_lattice(positions, single_type=True)
    if _ends_at_rows(ij, tables):
        ij = ij[:, ::-1]
    ij = ij + np.array([0, 1])
    rows, columns = int(ij[:, 0].max()) + 1, int(ij[:, 1].max()) + 2
    placed = _canonical(t, ij, rows, columns, int(ij[0].sum() % 2), tables)
    _check_patch(placed, types=(MEMORY,))
    return placed


def _ends_at_rows(ij: np.ndarray, tables: DemTables) -> bool:
    """Whether chains of MEMORY type end at the first and last rows, not at the first and last columns.

    The positions alone do not tell: those of a patch of 3 x 5 data qubits are those of one of 5 x 3. The
    flips that one detector sees alone do, but for detectors at the corners; without any, the patch is
    taken to be square.
    """
    last = ij.max(axis=0)
    single = np.flatnonzero(np.diff(tables.component_detectors.indptr) == 1)
    where = ij[tables.component_detectors.indices[tables.component_detectors.indptr[single]]]
    probability = (tables.components.astype(np.float64) @ tables.probabilities)[single]
    on_edge = (where == 0) | (where == last)
    row, column = (probability[on_edge[:, k] & ~on_edge[:, 1 - k]].sum() for k in (0, 1))
    return bool(last[0] < last[1]) if row == column else bool(row > column)


def _memory_parity(t: np.ndarray, parity: np.ndarray, tables: DemTables) -> int:
    """The parity of i + j of the detectors that see the observables' flips.

    Without observables, the type that is measured in the first layer, as in any memory experiment.
    """
    flips = np.asarray(tables.component_observables.sum(axis=0)).ravel() > 0
    votes = np.bincount(parity[tables.component_detectors[:, flips].indices], minlength=2)
    if votes.sum() == 0:
        votes = np.bincount(parity[t == 0], minlength=2)
    return int(np.argmax(votes))


def _canonical(
    t: np.ndarray, ij: np.ndarray, rows: int, columns: int, parity: int, tables: DemTables
) -> PlacedPatch:
    """Reflect and move a patch; MEMORY type stands on the edge i = 0 and has the given parity of i + j."""
    last = np.array([rows - 1, columns - 1])
    if parity == 1:
        # A reflection brings even parity where a distance is odd; where both are even, only moving does.
        odd = np.flatnonzero(last % 2)[:1]
        ij, parity = _reflected(ij, parity, last, axes=odd)
    step = schedule_direction(np.column_stack([t, ij]), tables)
    ij, parity = _reflected(ij, parity, last, axes=np.flatnonzero(step != CANONICAL_STEP))
    return PlacedPatch(ij + np.array([0, parity]), rows, columns, parity)


def _reflected(ij: np.ndarray, parity: int, last: np.ndarray, *, axes: np.ndarray) -> tuple[np.ndarray, int]:
    """Places and the parity of i + j of one type after reflections along `axes`."""
    ij = ij.copy()
    ij[:, axes] = last[axes] - ij[:, axes]
    return ij, int((parity + last[axes].sum()) % 2)


def _check_patch(placed: PlacedPatch, *, types: tuple[int, ...]) -> None:
    """The ancillas must be exactly those of a rotated patch of (rows - 1) x (columns - 1) data qubits."""
    ancillas, rows, columns = placed.ancillas, placed.rows, placed.columns
    parity = np.indices(ancillas.shape).sum(axis=0) % 2
    expected = ancillas & np.isin(parity, types)
    found = np.zeros_like(expected)
    found[placed.ij[:, 0], placed.ij[:, 1]] = True
    if min(rows, columns) < 4 or not np.array_equal(found, expected):
        raise LayoutError(
            f"detectors stand at {found.sum()} ancilla positions of a {rows} x {columns} lattice, which are "
            f"not the {expected.sum()} of a {rows - 1} x {columns - 1} rotated surface code"
            f"{'; a layout needs distance 3 or more' if min(rows, columns) < 4 else ''}"
        )


def _check_first_layer(t: np.ndarray, placed: PlacedPatch) -> None:
    """The first layer must have MEMORY type, and OTHER type only where all of MEMORY type is there too.

    A memory experiment prepares the basis in which its observable is measured, so the stabilizers that see
    the observable's flips are known from the start.
    """
    first = placed.ij[t == 0]
    other = np.flatnonzero((t == 0) & (placed.ij.sum(axis=1) % 2 == OTHER))
    ancillas = placed.ancillas
    memory = ancillas & (np.indices(ancillas.shape).sum(axis=0) % 2 == MEMORY)
    found = int(memory[first[:, 0], first[:, 1]].sum())
    if len(other) and found < memory.sum():
        raise LayoutError(
            f"detector D{other[0]} is in the first layer, of stabilizers that do not see the observables' "
            f"flips, where {found} of the {memory.sum()} stabilizers that see them have a detector: this is "
            "not a memory experiment in one basis"
        )
