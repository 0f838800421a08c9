"""Hyperedge clustering: detections that an error of both stabilizer types may have made belong together.

A hyperedge joins its detections if all its detectors fired, or all but one, which another error may have
flipped back.

`Hyperedges` are those of some detectors. `StreamHyperedges` picks them layer by layer, for experiments of any
length on the same patch: a hyperedge belongs to its earliest layer.

Shape legend: (I, J) the ancilla grid, B shots, N nodes (detectors, or places of detectors).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from predecoder.correction.stream_layers import StreamLayers
from qec import DecodingProblem

__all__ = ["Hyperedges", "StreamHyperedges"]


class Hyperedges:
    """The hyperedges of an error model that flip detectors of both stabilizer types.

    Attributes:
        nodes: int64 `(n, w)`: the detectors of each, its first one repeated up to the largest weight.
    """

    def __init__(self, nodes: np.ndarray, *, num_nodes: int) -> None:
        """`num_nodes`: N."""
        self.nodes = nodes
        distinct = np.ones(nodes.shape, dtype=bool)
        distinct[:, 1:] = nodes[:, 1:] != nodes[:, :1]
        # Of every hyperedge, all detectors but one, and two at least.
        self._enough = np.maximum(2, distinct.sum(axis=1) - 1)
        edge = np.broadcast_to(np.arange(len(nodes))[:, None], nodes.shape)[distinct]
        self._incidence = sp.csr_matrix(
            (np.ones(len(edge), dtype=np.int32), (nodes[distinct], edge)), shape=(num_nodes, len(nodes))
        )

    @classmethod
    def of_problem(cls, problem: DecodingProblem) -> Hyperedges:
        """Return the hyperedges of a whole experiment; nodes are its detectors."""
        detectors = problem.tables.detectors
        other = sp.csr_matrix(problem.layout.voxels[:, 1:].sum(axis=1) % 2)
        weight = np.diff(detectors.indptr)
        of_other = np.asarray((other.astype(np.int64) @ detectors.astype(np.int64)).todense()).ravel()
        both = np.flatnonzero((of_other > 0) & (of_other < weight))
        column = np.arange(weight[both].max(initial=1))
        start = detectors.indptr[both][:, None]
        nodes = detectors.indices[start + np.where(column < weight[both][:, None], column, 0)]
        return cls(nodes.astype(np.int64), num_nodes=problem.layout.num_detectors)

    def fired(self, detections: np.ndarray) -> np.ndarray:
        """Pairs that join the detections of the hyperedges that may have happened: int64 `(2, n)`.

        Args:
            detections: uint8 0/1 `(B, N)`; node k of shot b is number b * N + k in the result.
        """
        hits = (sp.csr_matrix(detections, dtype=np.int32) @ self._incidence).tocoo()
        likely = hits.data >= self._enough[hits.col]
        shot, nodes = hits.row[likely], self.nodes[hits.col[likely]]
        fired = detections[shot[:, None], nodes].astype(bool)
        nodes = nodes + shot[:, None].astype(np.int64) * detections.shape[1]
        first = np.take_along_axis(nodes, fired.argmax(axis=1)[:, None], axis=1)
        return np.stack([np.broadcast_to(first, nodes.shape)[fired], nodes[fired]])


class StreamHyperedges:
    """The same hyperedges where an experiment's length is not known before it ends.

    Attributes:
        reach: the largest number of layers from a hyperedge's earliest detector to its latest.
        lookahead: layers that must follow a layer before its hyperedges are known and seen, where the
            experiment goes on after them.
    """

    def __init__(self, problem: DecodingProblem, layers: StreamLayers) -> None:
        """`layers`, of the problem's DEM, say how longer and shorter experiments look."""
        layout = problem.layout
        self._area = int(np.prod(layout.shape[1:]))
        detectors = Hyperedges.of_problem(problem).nodes
        time = layout.voxels[detectors, 0]
        first = time.min(axis=1, keepdims=True)
        # Nodes count the flattened (I, J) cells of the hyperedge's layers, from its earliest on.
        nodes = (time - first) * self._area + layout.flat_voxels[detectors] % self._area
        self._starting = [np.unique(nodes[first[:, 0] == t], axis=0) for t in range(layout.layers)]
        self.reach = int((time - first).max(initial=0))
        self.lookahead = max(self.reach, layers.ending - 1)

    def places(self) -> Iterator[list[list[int]]]:
        """Per layer that was read the hyperedges that begin in it, each of distinct nodes.

        A node is the number of layers after this one times I * J, plus its cell.
        """
        for starting in self._starting:
            yield [list(dict.fromkeys(nodes)) for nodes in starting.tolist()]
