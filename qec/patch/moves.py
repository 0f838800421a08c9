"""Elementary moves: what a pre-decoder may propose, and how DEM mechanisms decompose into them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from qec.dem import DemTables, gf2
from qec.patch.layout import DetectorLayout, LayoutError

__all__ = ["MoveSet"]


@dataclass(frozen=True, eq=False)
class MoveSet:
    """All moves of a layout as explicit sparse matrices (DESIGN: residual = s + M y, flips = L y).

    Labels, matchings and the pre-decoder's native code work on these; its grid stencils never form them.
    Every mechanism is a sum of moves: a hook error of two, and where ancillas are not reset, so is a wrong
    result (layers t and t + 2): flips of the ancilla's state before and after the measurement.

    Attributes:
        positions: int64 `(moves,)`: index into the flattened (3, T, I, J) move grid.
        matrix: uint8 CSC `(num_detectors, moves)`: M.
        observables: uint8 CSC `(num_observables, moves)`: L.
        weights: float64 `(moves,)`: unit weights with a small gradient over space-time, so that
            shortest chains of moves are unique and chosen alike everywhere.
    """

    positions: np.ndarray
    matrix: sp.csc_matrix
    observables: sp.csc_matrix
    weights: np.ndarray

    @classmethod
    def from_layout(cls, layout: DetectorLayout) -> MoveSet:
        """Enumerate the moves of `layout.move_mask`, in the order of the flattened grid."""
        positions = np.flatnonzero(layout.move_mask)
        kind, t, i, j = np.unravel_index(positions, layout.move_mask.shape)
        grid = np.pad(layout.detector_grid, ((0, 1), (0, 1), (0, 1)), constant_values=-1)
        rows, columns = [], []
        for dt, di, dj in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)):
            detector = grid[t + dt, i + di, j + dj]
            parity = (i + di + j + dj) % 2
            data = (kind < 2) & (parity == kind) & (dt == 0)
            measurement = (kind == 2) & (di == 0) & (dj == 0)
            hit = np.flatnonzero((detector >= 0) & (data | measurement))
            rows.append(detector[hit])
            columns.append(hit)
        row, column = np.concatenate(rows), np.concatenate(columns)
        matrix = sp.csc_matrix(
            (np.ones(len(row), dtype=np.uint8), (row, column)),
            shape=(layout.num_detectors, len(positions)),
        )
        flips = np.zeros((layout.num_observables, len(positions)), dtype=np.uint8)
        data = kind < 2
        flips[:, data] = layout.observable_masks[:, kind[data], i[data], j[data]]
        weights = 1 + 1e-3 * t + 1e-4 * i + 1.7e-4 * j
        weights[kind == 2] = 1 + 2e-5 * t[kind == 2]
        return cls(positions, matrix, sp.csc_matrix(flips), weights)

    @property
    def num_moves(self) -> int:
        return len(self.positions)

    @cached_property
    def ends(self) -> np.ndarray:
        """int32 `(2, moves)`: the detectors that every move flips, the second -1 where it flips one."""
        first = self.matrix.indices[self.matrix.indptr[:-1]]
        last = self.matrix.indices[self.matrix.indptr[1:] - 1]
        return np.stack([first, np.where(first == last, -1, last)]).astype(np.int32)

    def of_detector_sets(self, detectors: sp.csc_matrix, observables: sp.csc_matrix) -> sp.csc_matrix:
        """The shortest chain of moves for each column of `detectors`, checked against `observables`.

        Args:
            detectors: uint8 CSC `(num_detectors, n)`.
            observables: uint8 CSC `(num_observables, n)`.

        Returns:
            uint8 CSC `(moves, n)`; column k has M y = detectors[:, k] and L y = observables[:, k].

        Raises:
            LayoutError: a column cannot be reproduced by moves.
        """
        import pymatching  # not above: the names of decoders are listed without their libraries

        graph = pymatching.Matching(self.matrix, weights=self.weights)
        syndrome = np.zeros(self.matrix.shape[0], dtype=np.uint8)
        chains = []
        for k in range(detectors.shape[1]):
            fired = detectors.indices[detectors.indptr[k] : detectors.indptr[k + 1]]
            syndrome[fired] = 1
            try:
                chains.append(np.flatnonzero(graph.decode(syndrome)))
            except ValueError as error:
                raise LayoutError(f"no moves flip exactly the detectors {fired.tolist()}") from error
            syndrome[fired] = 0
        result = gf2.from_columns(chains, rows=self.num_moves)
        _check_reproduced(self.matrix, result, detectors, "detectors")
        _check_reproduced(self.observables, result, observables, "observables")
        return result

    def of_mechanisms(self, tables: DemTables) -> sp.csc_matrix:
        """The moves of every DEM mechanism: uint8 CSC `(moves, mechanisms)`; see `of_detector_sets`."""
        chains = self.of_detector_sets(tables.component_detectors, tables.component_observables)
        return gf2.product(chains, tables.components)


def _check_reproduced(matrix: sp.csc_matrix, moves: sp.csc_matrix, wanted: sp.csc_matrix, what: str) -> None:
    wrong = np.flatnonzero(np.asarray((gf2.product(matrix, moves) != wanted).sum(axis=0)).ravel())
    if len(wrong):
        k = int(wrong[0])
        raise LayoutError(
            f"{len(wrong)} detector sets map to moves that flip other {what}; "
            f"the first, number {k}, should flip {wanted[:, [k]].nonzero()[0].tolist()}"
        )
