"""What a network is told of the noise: how likely the DEM holds every move, and what goes with it, to be.

Shape legend: (T, I, J) the detector grid, K kinds of rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from predecoder.blocking import block
from qec import DetectorLayout, MoveSet

if TYPE_CHECKING:
    from predecoder.stream_layers import StreamLayers

__all__ = ["RATE_KINDS", "StreamRates", "blocked_rates", "move_rates"]

RATE_KINDS = 8
"""3 of the moves in all, 3 of the moves alone, and 2 of the detectors; see `move_rates`."""
_TYPICAL, _LEAST = 6e-3, 3e-4
"""A probability that reads as zero, and the one below which all read alike."""


def move_rates(layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """Logarithms of probabilities, from -3 to 4.4; zero where there is no move or detector.

    A component of a DEM's mechanism that flips the detectors of one move is that move. Kinds 0 to 2 are how
    likely a move of its kind happens, whatever else the mechanism flips; 3 to 5 how likely it happens alone.
    Kinds 6 and 7 are at detectors: how likely a component that is no single move flips it, and how likely a
    mechanism of several components does.

    Returns:
        float32 `(8, T, I, J)`.
    """
    tables = layout.tables
    # exp(-bias) = 1 - 2 p: the probability of an odd number of independent events has the sum of biases.
    bias = -np.log1p(-2 * np.minimum(tables.probabilities, 0.5 - 1e-12))
    parts = np.asarray(tables.components.sum(axis=0)).ravel()
    together, alone = (tables.components @ b for b in (bias, bias * (parts == 1)))
    ends = _ends(tables.component_detectors)
    keys, of_move = np.unique(_keys(moves.ends, layout.num_detectors), return_inverse=True)
    keys, wanted = np.append(keys, np.iinfo(np.int64).max), _keys(ends, layout.num_detectors)
    found = np.searchsorted(keys, wanted)
    single = keys[found] == wanted
    rates = np.zeros((RATE_KINDS, *layout.shape), dtype=np.float32)
    for first, b in ((0, together), (3, alone)):
        by_key = np.bincount(found[single], b[single], minlength=len(keys))
        rates[first : first + 3].ravel()[moves.positions] = _scaled(by_key[of_move])
    chains = sp.csr_matrix(tables.component_detectors, dtype=np.float64) @ (together * ~single)
    bound = sp.csr_matrix(tables.detectors, dtype=np.float64) @ (bias * (parts > 1))
    for kind, b in ((6, chains), (7, bound)):
        rates[kind].ravel()[layout.flat_voxels] = _scaled(b)
    return rates


def blocked_rates(layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """`move_rates` as a network takes them, channels last: float32 `(1, t, i, j, 64)`."""
    return block(move_rates(layout, moves)[None])


class StreamRates:
    """The same where an experiment's length is not known before it ends, layer by layer.

    Layers look alike by the mechanisms that begin in them. Those of experiments of other lengths are exact
    where no mechanism spans more layers than repeat, and near the cut off by a few mechanisms where one does.
    """

    def __init__(self, layout: DetectorLayout, layers: StreamLayers) -> None:
        """`layers` say how experiments look that are longer or shorter than the layout's."""
        self._rates, self._layers = move_rates(layout, MoveSet.from_layout(layout)), layers

    def of(self, start: int, stop: int, *, num_layers: int | None) -> np.ndarray:
        """Rates float32 `(8, stop - start, I, J)` of layers from `start`; zero past the experiment's end.

        Args:
            num_layers: of the experiment; None where layers that tell its end apart follow `stop`.
        """
        experiment = self._layers.experiment(num_layers)
        last = stop if num_layers is None else min(stop, num_layers)
        sources = [experiment.source_layer(t)[0] for t in range(start, last)]
        rates = np.zeros((RATE_KINDS, stop - start, *self._rates.shape[2:]), dtype=np.float32)
        rates[:, : len(sources)] = self._rates[:, sources]
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
