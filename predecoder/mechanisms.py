"""The mechanisms that bind a decision's groups: those that flip detectors of both stabilizer types.

One binds if all its detectors fired, or all but one, which another error may have flipped back.

`Mechanisms` are a whole experiment's. `StreamMechanisms` are the same, layer by layer, for
experiments of any length on the same patch: a mechanism belongs to its earliest layer.

Shape legend: (I, J) the ancilla grid, T layers of an experiment that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.sparse as sp

from predecoder.stream_layers import StreamLayers
from qec import DecodingProblem

__all__ = ["Mechanisms", "StreamMechanisms"]


class Mechanisms:
    """The mechanisms of a DEM that flip detectors of both stabilizer types.

    Attributes:
        detectors: int `(n, w)`: the detectors of each, its first one repeated up to the largest weight.
    """

    def __init__(self, problem: DecodingProblem) -> None:
        layout, detectors = problem.layout, problem.tables.detectors
        kind = sp.csr_matrix(layout.voxels[:, 1:].sum(axis=1) % 2)
        weight = np.diff(detectors.indptr)
        others = np.asarray((kind.astype(np.int64) @ detectors.astype(np.int64)).todense()).ravel()
        both = np.flatnonzero((others > 0) & (others < weight))
        self._weight = weight[both]
        self._incidence = sp.csr_matrix(detectors[:, both], dtype=np.int32)
        column = np.arange(self._weight.max(initial=1))
        start = detectors.indptr[both][:, None]
        self.detectors = detectors.indices[start + np.where(column < self._weight[:, None], column, 0)]
        self._num_detectors = layout.num_detectors

    def fired(self, detections: np.ndarray) -> np.ndarray:
        """Pairs that bind the detections of the mechanisms that may have happened: int64 `(2, n)`.

        Args:
            detections: uint8 0/1 `(B, num_detectors)`; detector d of shot b is node
                b * num_detectors + d of the result.
        """
        hits = (sp.csr_matrix(detections, dtype=np.int32) @ self._incidence).tocoo()
        likely = hits.data >= np.maximum(2, self._weight[hits.col] - 1)
        shot, detectors = hits.row[likely], self.detectors[hits.col[likely]]
        fired = detections[shot[:, None], detectors].astype(bool)
        nodes = detectors + shot[:, None].astype(np.int64) * self._num_detectors
        first = np.take_along_axis(nodes, fired.argmax(axis=1)[:, None], axis=1)
        return np.stack([np.broadcast_to(first, nodes.shape)[fired], nodes[fired]])


class StreamMechanisms:
    """The same mechanisms where an experiment's length is not known before it ends.

    Attributes:
        reach: the largest number of layers from a mechanism's earliest detector to its latest.
        lookahead: layers that must follow a layer before its mechanisms are known and seen, where the
            experiment goes on after them.
    """

    def __init__(self, problem: DecodingProblem, *, layers: StreamLayers) -> None:
        """`problem` and `layers` are of one DEM; `layers` says how longer and shorter ones look."""
        layout, detectors = problem.layout, Mechanisms(problem).detectors
        self._area = int(np.prod(layout.shape[1:]))
        time = layout.voxels[detectors, 0]
        first = time.min(axis=1, keepdims=True)
        # Nodes count the flattened (I, J) cells of the mechanism's layers, from its earliest on.
        nodes = (time - first) * self._area + layout.flat_voxels[detectors] % self._area
        self._starting = [np.unique(nodes[first[:, 0] == t], axis=0) for t in range(layout.layers)]
        self._layers = layers
        self.reach = int((time - first).max(initial=0))
        self.lookahead = max(self.reach, layers.ending - 1)
        self._of = cache(self._make)

    def fired(
        self, bits: np.ndarray, *, start: int, num_layers: int | None
    ) -> list[tuple[tuple[int, int], ...]]:
        """The detections, as (layer, cell), of each mechanism that may have happened.

        Args:
            bits: uint8 0/1 (n + reach, I * J): detections of layers `start`, `start + 1`, ...;
                mechanisms are those that begin in the first n, with zeros past the experiment's end.
            start: the first layer.
            num_layers: of the experiment; None where at least `lookahead` layers and one more follow.
        """
        experiment = self._layers.experiment(num_layers)
        stop = start + len(bits) - self.reach
        nodes = self._of(tuple(experiment.source_layer(t)[0] for t in range(start, stop)))
        flat = bits.ravel()
        fired = flat[nodes].astype(bool)
        distinct = nodes[:, 1:] != nodes[:, :1]  # the others are the first one repeated
        fired[:, 1:] &= distinct
        weight = 1 + distinct.sum(axis=1)
        likely = fired.sum(axis=1) >= np.maximum(2, weight - 1)
        return [
            tuple(
                (start + node // self._area, node % self._area)
                for node, hit in zip(row, hits, strict=True)
                if hit
            )
            for row, hits in zip(nodes[likely].tolist(), fired[likely].tolist(), strict=True)
        ]

    def _make(self, sources: Sequence[int]) -> np.ndarray:
        """int64 (mechanisms, w): those that begin in consecutive layers, which look like `sources`."""
        return np.concatenate([self._starting[s] + k * self._area for k, s in enumerate(sources)])
