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

from qec.dem import DemTables, detector_coordinates
from qec.patch.grid import MEMORY, OTHER, place_on_grid
from qec.patch.lattice import LayoutError
from qec.patch.layers import layers_of_detectors, space_time_coordinates
from qec.patch.observable_masks import infer_observable_masks

__all__ = ["GRID_REVISION", "MEMORY", "OTHER", "DetectorLayout", "LayoutError"]

GRID_REVISION = 2
"""Changes with the canonical grid: a network's weights fit the one they were trained on."""


@dataclass(frozen=True, eq=False)
class DetectorLayout:
    """Detectors on a canonical grid, found from coordinates and the DEM alone.

    Whatever the circuit's basis, orientation, coordinate system and patch (square or rectangular,
    of even or odd distances), the grid is turned so that the two-body stabilizers on the edge
    i = 0 are of MEMORY type. What that leaves open is decided by the syndrome-extraction
    schedule: the grid is turned, and mirrored if need be, until most of the probability of a data
    flip in the middle of a round goes from (t, i, j) to (t + 1, i + 1, j - 1). Where stabilizers
    of MEMORY type would then have odd i + j, the patch is moved by one column, so that they always
    have even i + j. In the bulk, the DEMs of both bases and all orientations are then one and the
    same, and a network need not guess the schedule from the syndrome.

    Attributes:
        voxels: int64 `(num_detectors, 3)`: layer t, row i, column j of each detector.
        layers: number of detector layers (rounds + 1 in a memory experiment), before padding.
        rows, columns: number of ancilla rows and columns (distance + 1), before padding.
        first_column: where the patch begins: 1 where stabilizers of MEMORY type would have odd i + j
            otherwise, else 0.
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
    def from_dem(
        cls, dem: stim.DetectorErrorModel, tables: DemTables, *, backwards: bool = False
    ) -> DetectorLayout:
        """Find the layout of any rotated-surface-code memory DEM with detector coordinates.

        Args:
            dem: decomposed DEM whose detectors have coordinates (x, y, t, ...).
            tables: of that DEM.
            backwards: the last layer is the first; see `DecodingProblem.from_normal_form`.

        Raises:
            LayoutError: the detectors do not form such an experiment; the message says why.
        """
        coordinates = space_time_coordinates(detector_coordinates(dem))
        if backwards:
            coordinates[:, 2] = coordinates[:, 2].max() + coordinates[:, 2].min() - coordinates[:, 2]
        t = layers_of_detectors(coordinates[:, 2], coordinates[:, :2])
        patch = place_on_grid(t, coordinates[:, :2], tables)
        voxels = np.column_stack([t, patch.ij])
        support = infer_observable_masks(voxels, tables, patch.ancillas)
        masks = np.zeros((tables.num_observables, 2, *map(_even, patch.ancillas.shape)), dtype=bool)
        masks[:, :, : support.shape[2], : support.shape[3]] = support
        return cls(
            voxels=voxels,
            layers=int(t.max()) + 1,
            rows=patch.rows,
            columns=patch.columns,
            first_column=patch.first_column,
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
        """Code distance of the patch: the smaller of its two, where they differ."""
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
        layer t (where ancillas are not reset, of its state before it), seen by the detectors of layers t
        and t + 1. A move exists if it flips a
        detector, and none that is deterministic. Stabilizers of OTHER type are random when the experiment
        starts and unread when it ends, so their first and last measurement flips are seen by one
        detector only; for MEMORY type such a move would be an unseen logical flip, and does not
        exist.
        """
        present = self.detector_grid >= 0
        never = np.zeros(self.shape, dtype=bool)
        never.ravel()[self.flat_voxels] = self.deterministic
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
            barred = never & (parity == kind)
            mask[kind, :, :-1, :-1] &= ~(
                barred[:, :-1, :-1] | barred[:, 1:, :-1] | barred[:, :-1, 1:] | barred[:, 1:, 1:]
            )
        last = self.layers - 1
        now, later = present[:last], present[1 : last + 1]
        ends_open = (parity == OTHER) & (not self.observable_masks[:, OTHER].any())
        mask[2, :last] = (now & later) | (ends_open & (now | later))
        mask[2, :last] &= ~(never[:last] | never[1 : last + 1])
        return mask


def _even(n: int) -> int:
    return n + n % 2
