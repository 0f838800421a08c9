"""Which data flips flip which observable, read off a DEM's edges."""

from __future__ import annotations

import numpy as np

from qec.dem import DemTables
from qec.patch.lattice import LayoutError

__all__ = ["infer_observable_masks"]


def infer_observable_masks(voxels: np.ndarray, tables: DemTables, ancillas: np.ndarray) -> np.ndarray:
    """Find the observables' support on the data sites.

    A component that flips two diagonal neighbours of one stabilizer type is a flip of the data
    site between them (and perhaps of measurements, which flip no observable); one that flips a
    single detector next to the edge is a flip of a data site on that edge. Sites that no component
    names follow from the stabilizers: the data flips around an ancilla of the other type are a
    stabilizer, so they flip each observable an even number of times.

    Args:
        voxels: int64 `(num_detectors, 3)`: layer, row, column; type is (row + column) mod 2.
        ancillas: bool `(rows, columns)`: where ancillas stand on the grid.

    Returns:
        bool `(num_observables, 2, rows - 1, columns - 1)`, by type of the stabilizers that see
        the flip and by data site.

    Raises:
        LayoutError: the components contradict the stabilizers.
    """
    rows, columns = ancillas.shape
    masks = np.zeros((tables.num_observables, 2, rows - 1, columns - 1), dtype=bool)
    for observable, mask in enumerate(masks):
        flips = tables.component_observables[[observable]].toarray().ravel().astype(np.int64)
        # Votes for even and odd; an edge votes once for each layer it appears in.
        votes = np.zeros((2, *mask.shape), dtype=np.int64)
        _vote_pairs(votes, voxels, tables, flips)
        _vote_singles(votes, voxels, tables, flips, ancillas)
        known = votes.sum(axis=0) > 0
        mask[:] = votes[1] > votes[0]
        for kind in (0, 1):
            _complete_from_stabilizers(mask[kind], known[kind], ancillas, kind, observable)
        if flips.any() and not mask.any():
            raise LayoutError(
                f"errors flip observable L{observable}, but the flip of no data qubit does: "
                "this is not the DEM of a memory experiment on one patch"
            )
    return masks


def _vote_pairs(votes: np.ndarray, voxels: np.ndarray, tables: DemTables, flips: np.ndarray) -> None:
    matrix = tables.component_detectors
    pairs = np.flatnonzero(np.diff(matrix.indptr) == 2)
    a, b = (voxels[matrix.indices[matrix.indptr[pairs] + k]] for k in (0, 1))
    step = np.abs(a - b)
    diagonal = (step[:, 1] == 1) & (step[:, 2] == 1) & (step[:, 0] <= 1)
    site = np.minimum(a, b)[diagonal]
    kind = a[diagonal, 1:].sum(axis=1) % 2
    np.add.at(votes, (flips[pairs[diagonal]], kind, site[:, 1], site[:, 2]), 1)


def _vote_singles(
    votes: np.ndarray, voxels: np.ndarray, tables: DemTables, flips: np.ndarray, ancillas: np.ndarray
) -> None:
    matrix = tables.component_detectors
    singles = np.flatnonzero(np.diff(matrix.indptr) == 1)
    where = voxels[matrix.indices[matrix.indptr[singles]]]
    by_ancilla = np.zeros((2, *ancillas.shape), dtype=np.int64)
    np.add.at(by_ancilla, (flips[singles], where[:, 1], where[:, 2]), 1)
    for kind, site_i, site_j in np.ndindex(votes.shape[1:]):
        corners = [(site_i + a, site_j + b) for a in (0, 1) for b in (0, 1)]
        seen = [c for c in corners if sum(c) % 2 == kind and ancillas[c]]
        if len(seen) == 1:
            votes[:, kind, site_i, site_j] += by_ancilla[:, *seen[0]]


def _complete_from_stabilizers(
    mask: np.ndarray, known: np.ndarray, ancillas: np.ndarray, kind: int, observable: int
) -> None:
    """Fill unknown sites of `mask` in place from the stabilizers of the other type; check them all."""
    rows, columns = mask.shape
    first = int(np.argmax(ancillas.any(axis=0)))  # sites before the patch are no data qubits
    loops = [
        [(a, b) for a in (i - 1, i) for b in (j - 1, j) if 0 <= a < rows and first <= b < columns]
        for i, j in zip(*np.nonzero(ancillas), strict=True)
        if (i + j) % 2 != kind
    ]
    progress = True
    while progress:
        progress = False
        for loop in loops:
            unknown = [site for site in loop if not known[site]]
            if len(unknown) == 1:
                mask[unknown[0]] = sum(mask[site] for site in loop if known[site]) % 2
                known[unknown[0]] = progress = True
    for loop in loops:
        if sum(mask[site] for site in loop) % 2:
            raise LayoutError(
                f"the edges around data sites {loop} flip observable L{observable} an odd number of "
                "times, so the DEM is not one of a surface-code memory experiment"
            )
