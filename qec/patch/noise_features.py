"""How likely a DEM holds every elementary move to be: what a noise-conditioned network is given.

Shape legend: (T, I, J) the detector grid.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from qec.dem import DemTables
from qec.patch.layout import DetectorLayout
from qec.patch.moves import MoveSet

__all__ = ["NOISE_FEATURES", "noise_features"]

NOISE_FEATURES = 8
"""Number of features: 3 of the moves in all, 3 of the moves alone, and 2 of the detectors."""
_TYPICAL, _LEAST = 6e-3, 3e-4
"""A probability that reads as zero, and the one below which all read alike."""


def noise_features(layout: DetectorLayout, moves: MoveSet, tables: DemTables) -> np.ndarray:
    """Logarithms of probabilities, from -3 to 4.4; zero where there is no move or detector.

    A component of a DEM's mechanism that flips the detectors of one move is that move. Kinds 0 to 2 are how
    likely a move of its kind happens, whatever else the mechanism flips; 3 to 5 how likely it happens alone.
    Kinds 6 and 7 are at detectors: how likely a component that is no single move flips it, and how likely a
    mechanism of several components does.

    Returns:
        float32 `(8, T, I, J)`.
    """
    # exp(-bias) = 1 - 2 p: the probability of an odd number of independent events has the sum of biases.
    bias = -np.log1p(-2 * np.minimum(tables.probabilities, 0.5 - 1e-12))
    parts = np.asarray(tables.components.sum(axis=0)).ravel()
    together, alone = (tables.components @ b for b in (bias, bias * (parts == 1)))
    ends = _ends(tables.component_detectors)
    keys, of_move = np.unique(_keys(moves.ends, layout.num_detectors), return_inverse=True)
    keys, wanted = np.append(keys, np.iinfo(np.int64).max), _keys(ends, layout.num_detectors)
    found = np.searchsorted(keys, wanted)
    single = keys[found] == wanted
    rates = np.zeros((NOISE_FEATURES, *layout.shape), dtype=np.float32)
    for first, b in ((0, together), (3, alone)):
        by_key = np.bincount(found[single], b[single], minlength=len(keys))
        rates[first : first + 3].ravel()[moves.positions] = _scaled(by_key[of_move])
    chains = sp.csr_matrix(tables.component_detectors, dtype=np.float64) @ (together * ~single)
    bound = sp.csr_matrix(tables.detectors, dtype=np.float64) @ (bias * (parts > 1))
    for kind, b in ((6, chains), (7, bound)):
        rates[kind].ravel()[layout.flat_voxels] = _scaled(b)
    return rates


def _ends(detectors: sp.csc_matrix) -> np.ndarray:
    """int64 `(2, n)`: the two detectors of each column, -1 and the only one, or -1 twice for any other."""
    weight = np.diff(detectors.indptr)
    ends = np.full((2, detectors.shape[1]), -1, dtype=np.int64)
    one, two = np.flatnonzero(weight == 1), np.flatnonzero(weight == 2)
    ends[1, one] = detectors.indices[detectors.indptr[one]]
    ends[0, two], ends[1, two] = (detectors.indices[detectors.indptr[two] + k] for k in (0, 1))
    return ends


def _keys(ends: np.ndarray, num_detectors: int) -> np.ndarray:
    """One number for each pair of ends, in any order."""
    return (ends.max(axis=0) + 1).astype(np.int64) * (num_detectors + 1) + ends.min(axis=0) + 1


def _scaled(bias: np.ndarray) -> np.ndarray:
    probability = (1 - np.exp(-bias)) / 2
    return (np.log(np.maximum(probability, _LEAST) / _TYPICAL)).astype(np.float32)
