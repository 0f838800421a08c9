"""Where every detector of a rotated-surface-code memory experiment sits on a space-time grid.

Shape legend: T, I, J are the grid's time layers and ancilla rows and columns, all even (padded);
S the data sites; O the observables. Ancilla (i, j) is a lattice point; data site (i, j) is the
square between ancillas (i, j) and (i+1, j+1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import stim

from qec.dem_tables import DemTables, detector_coordinates
from qec.patch.lattice import (
    LayoutError,
    ancilla_lattice,
    layers_of_times,
    patch_ancillas,
    space_time_coordinates,
)
from qec.patch.observable_masks import infer_observable_masks
from qec.patch.schedule import schedule_direction

__all__ = ["GRID_REVISION", "MEMORY", "OTHER", "DetectorLayout", "LayoutError"]

GRID_REVISION = 2
"""Changes with the canonical grid: a network's weights fit the one they were trained on."""

MEMORY, OTHER = 0, 1
"""Stabilizer types: those the observable's flips are seen by, and the others."""


@dataclass(frozen=True, eq=False)
class DetectorLayout:
    """Detectors on a canonical grid, found from coordinates and the DEM alone.

    Whatever the circuit's basis, orientation and coordinate system, the grid is turned so that
    stabilizers of MEMORY type are the ancillas with even i + j and the two-body stabilizers on
    the edge i = 0 are of MEMORY type. What that leaves open is decided by the syndrome-extraction
    schedule: the grid is turned, and mirrored if need be, until most of the probability of a data
    flip in the middle of a round goes from (t, i, j) to (t + 1, i + 1, j - 1). In the bulk, the
    DEMs of both bases and all orientations are then one and the same, and a network need not
    guess the schedule from the syndrome.

    Attributes:
        voxels: int64 `(num_detectors, 3)`: layer t, row i, column j of each detector.
        layers: number of detector layers (rounds + 1 in a memory experiment), before padding.
        rows, columns: number of ancilla rows and columns (distance + 1), before padding.
        first_column: where the patch begins; 1 if it was mirrored (which exchanges the parities
            of i + j, so that it has to move by one column), else 0.
        observable_masks: bool `(O, 2, I, J)`: whether a data flip that MEMORY (0) or OTHER (1)
            stabilizers see, on data site (i, j), flips observable o.
        deterministic: bool `(num_detectors,)`: detectors that no mechanism flips, as after a last round
            without noise. No move may touch them: nothing could explain what it would leave there.
    """

    voxels: np.ndarray
    layers: int
    rows: int
    columns: int
    first_column: int
    observable_masks: np.ndarray
    deterministic: np.ndarray

    @classmethod
    def from_dem(cls, dem: stim.DetectorErrorModel, tables: DemTables) -> DetectorLayout:
        """Find the layout of any rotated-surface-code memory DEM with detector coordinates.

        Args:
            dem: decomposed DEM whose detectors have coordinates (x, y, t).
            tables: of that DEM.

        Raises:
            LayoutError: the detectors do not form such an experiment; the message says why.
        """
        coordinates = space_time_coordinates(detector_coordinates(dem))
        t = layers_of_times(coordinates[:, 2])
        _check_unique(t, coordinates[:, :2])
        try:
            ij, (rows, columns) = _both_types(coordinates[:, :2], t, tables)
        except LayoutError as error:
            try:
                ij, (rows, columns) = _memory_type_only(coordinates[:, :2], t)
            except LayoutError:
                raise error from None
        voxels = np.column_stack([t, ij])
        support = infer_observable_masks(voxels, tables, rows=rows, columns=columns)
        step = schedule_direction(voxels, tables)
        if step[0] < 0:  # turned by 180 degrees
            step = -step
            ij = np.array([rows - 1, columns - 1]) - ij
            support = support[:, :, ::-1, ::-1]
        first = int(step[1] > 0)
        if first:
            ij = np.column_stack([ij[:, 0], columns - ij[:, 1]])
            support = support[:, :, :, ::-1]
        masks = np.zeros((tables.num_observables, 2, _even(rows), _even(first + columns)), dtype=bool)
        masks[:, :, : rows - 1, first : first + columns - 1] = support
        return cls(
            voxels=np.column_stack([t, ij]),
            layers=int(t.max()) + 1,
            rows=rows,
            columns=columns,
            first_column=first,
            observable_masks=masks,
            deterministic=np.diff(tables.component_detectors.tocsr().indptr) == 0,
        )

    def with_layers(self, cells: Sequence[np.ndarray]) -> DetectorLayout:
        """The same patch with other layers, whose detectors are numbered in the order given.

        Args:
            cells: per layer int64 `(detectors,)`: where they stand in the flattened (I, J) grid.
        """
        shape = self.shape[1:]
        voxels = [
            np.column_stack([np.full(len(where), t), *np.unravel_index(where, shape)])
            for t, where in enumerate(cells)
        ]
        count = sum(map(len, cells))
        return replace(
            self,
            voxels=np.concatenate(voxels),
            layers=len(cells),
            deterministic=np.zeros(count, dtype=bool),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, I, J): the grid, padded to even numbers."""
        return _even(self.layers), _even(self.rows), _even(self.first_column + self.columns)

    @property
    def distance(self) -> int:
        """Of the patch: the smaller of its two, where they differ."""
        return min(self.rows, self.columns) - 1

    @property
    def num_detectors(self) -> int:
        return len(self.voxels)

    @property
    def num_observables(self) -> int:
        return len(self.observable_masks)

    @cached_property
    def flat_voxels(self) -> np.ndarray:
        """int64 `(num_detectors,)`: each detector's index into the flattened (T, I, J) grid."""
        return np.asarray(np.ravel_multi_index(tuple(self.voxels.T), self.shape))

    @cached_property
    def detector_grid(self) -> np.ndarray:
        """int64 `(T, I, J)`: the detector at each voxel, or -1."""
        grid = np.full(int(np.prod(self.shape)), -1, dtype=np.int64)
        grid[self.flat_voxels] = np.arange(self.num_detectors)
        return grid.reshape(self.shape)

    @cached_property
    def move_mask(self) -> np.ndarray:
        """bool `(3, T, I, J)`: which moves exist.

        Kind 0 and 1 at (t, i, j) is a flip of data site (i, j) before the measurement of layer t
        that MEMORY or OTHER stabilizers see; kind 2 is a flip of ancilla (i, j)'s measurement in
        layer t, seen by the detectors of layers t and t + 1. A move exists if it flips a
        detector, and none that is deterministic. Stabilizers of OTHER type are random when the experiment
        starts and unread when it ends, so their first and last measurement flips are seen by one
        detector only; for MEMORY type such a move would be an unseen logical flip, and does not
        exist.
        """
        present = self.detector_grid >= 0
        silent = np.zeros(self.shape, dtype=bool)
        silent.ravel()[self.flat_voxels] = self.deterministic
        mask = np.zeros((3, *self.shape), dtype=bool)
        parity = np.indices(self.shape[1:]).sum(axis=0) % 2
        for kind in (MEMORY, OTHER):
            seen = present & (parity == kind)
            mask[kind, :, :-1, :-1] = (
                seen[:, :-1, :-1] | seen[:, 1:, :-1] | seen[:, :-1, 1:] | seen[:, 1:, 1:]
            )
            mask[kind, :, self.rows - 1 :] = False
            mask[kind, :, :, : self.first_column] = False
            mask[kind, :, :, self.first_column + self.columns - 1 :] = False
            mute = silent & (parity == kind)
            mask[kind, :, :-1, :-1] &= ~(
                mute[:, :-1, :-1] | mute[:, 1:, :-1] | mute[:, :-1, 1:] | mute[:, 1:, 1:]
            )
        last = self.layers - 1
        now, later = present[:last], present[1 : last + 1]
        ends_open = (parity == OTHER) & (not self.observable_masks[:, OTHER].any())
        mask[2, :last] = (now & later) | (ends_open & (now | later))
        mask[2, :last] &= ~(silent[:last] | silent[1 : last + 1])
        return mask


def _even(n: int) -> int:
    return n + n % 2


def _check_unique(t: np.ndarray, positions: np.ndarray) -> None:
    """Two detectors on one voxel cannot be laid out."""
    _, index, counts = np.unique(
        np.column_stack([t, positions]), axis=0, return_index=True, return_counts=True
    )
    if counts.max() > 1:
        raise LayoutError(
            f"detector D{index[np.argmax(counts)]} shares its coordinates with another detector"
        )


def _both_types(
    positions: np.ndarray, t: np.ndarray, tables: DemTables
) -> tuple[np.ndarray, tuple[int, int]]:
    """Canonical (i, j) of each detector and the patch's ancilla rows and columns."""
    ij = ancilla_lattice(positions, single_type=False)
    memory_parity = _memory_parity(t, ij.sum(axis=1) % 2, tables)
    edge = ij[ij[:, 0] == 0].sum(axis=1) % 2
    if np.all(edge != memory_parity):
        ij = ij[:, ::-1]
    rows, columns = (int(n) + 1 for n in ij.max(axis=0))
    if memory_parity == 1:
        ij = _mirrored(ij, rows, columns)
    _check_patch(ij, rows, columns, types=(MEMORY, OTHER))
    return ij, (rows, columns)


def _memory_type_only(positions: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Like `_both_types` where only MEMORY type has detectors, as with a single round.

    The missing type's two-body stabilizers would stand one column further out on both sides.
    """
    if len(np.unique(positions[t == 0], axis=0)) != len(np.unique(positions, axis=0)):
        raise LayoutError("only some ancillas have a detector in the first layer, so there are two types")
    ij = ancilla_lattice(positions, single_type=True)
    if ij[:, 0].max() < ij[:, 1].max():
        ij = ij[:, ::-1]
    ij = ij + np.array([0, 1])
    rows, columns = int(ij[:, 0].max()) + 1, int(ij[:, 1].max()) + 2
    if ij[0].sum() % 2 == 1:
        ij = _mirrored(ij, rows, columns)
    _check_patch(ij, rows, columns, types=(MEMORY,))
    return ij, (rows, columns)


def _memory_parity(t: np.ndarray, parity: np.ndarray, tables: DemTables) -> int:
    """The parity of i + j of the detectors that see the observables' flips.

    Without observables, the type that is measured in the first layer, as in any memory experiment.
    """
    flips = np.asarray(tables.component_observables.sum(axis=0)).ravel() > 0
    votes = np.bincount(parity[tables.component_detectors[:, flips].indices], minlength=2)
    if votes.sum() == 0:
        votes = np.bincount(parity[t == 0], minlength=2)
    return int(np.argmax(votes))


def _mirrored(ij: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Exchanges the parities of i + j by a reflection."""
    if rows % 2 == 0:
        return np.column_stack([rows - 1 - ij[:, 0], ij[:, 1]])
    if columns % 2 == 0:
        return np.column_stack([ij[:, 0], columns - 1 - ij[:, 1]])
    raise LayoutError(f"the patch has {rows - 1} by {columns - 1} data qubits; one distance must be odd")


def _check_patch(ij: np.ndarray, rows: int, columns: int, *, types: tuple[int, ...]) -> None:
    """The ancillas must be exactly those of a rotated patch of (rows - 1) x (columns - 1) data qubits."""
    parity = np.indices((rows, columns)).sum(axis=0) % 2
    expected = patch_ancillas(rows, columns) & np.isin(parity, types)
    found = np.zeros((rows, columns), dtype=bool)
    found[ij[:, 0], ij[:, 1]] = True
    if rows < 3 or columns < 3 or not np.array_equal(found, expected):
        raise LayoutError(
            f"detectors stand at {found.sum()} ancilla positions of a {rows} x {columns} lattice, which are "
            f"not the {expected.sum()} of a {rows - 1} x {columns - 1} rotated surface code"
        )
