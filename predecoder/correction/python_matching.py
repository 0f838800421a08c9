"""The matching on logits with numpy and PyMatching: for what C++ leaves, or for all.

Every defect has a reach. It is matched along paths that weigh no more than its reach and the other defect's
together, or it stays unmatched at the weight of its reach. Where every defect is matched, there is no better
matching with longer paths: leaving all ends of such paths unmatched would weigh less. Otherwise, those around
look further.

Shape legend: B shots, D detectors, M moves of `MoveSet`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pymatching
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, dijkstra

from predecoder.native import Matched

__all__ = ["PythonMatching"]

_REACHES = (5.0, 10.0, 20.0, 40.0, math.inf)
"""The weight at which a defect stays unmatched: at first, then at next."""
_LARGEST_WEIGHT = 1000.0
"""No |logit| counts for more than this."""
_SCALE = 10.0
"""The largest weight of a matching, in reaches. PyMatching rounds weights to fractions of the largest, which
is therefore always there, so that a shot's matching does not depend on its batch."""


class PythonMatching:
    """Matchings on the logits of a graph of moves."""

    def __init__(self, ends: np.ndarray, *, num_detectors: int) -> None:
        """`ends`: int `(2, M)`, the detectors of every move, the second -1 where it has one."""
        self._num_detectors = num_detectors
        # What is no detector is the boundary, node D of its shot.
        self._ends = np.where(ends < 0, num_detectors, ends).astype(np.int64)
        moves = np.arange(ends.shape[1])
        row = np.concatenate([moves, np.flatnonzero(ends[1] >= 0)])
        flipped = np.concatenate([ends[0], ends[1, ends[1] >= 0]])
        self._flips = sp.csr_matrix(
            (np.ones(len(row), dtype=np.int32), (row, flipped)), shape=(len(moves), num_detectors)
        )
        self._graph = _Neighbours(self._ends, nodes=num_detectors + 1)

    def __call__(self, logits: np.ndarray, packed: np.ndarray, *, abstain_above: float = math.inf) -> Matched:
        """Explains shots.

        Args:
            logits: float `(B, M)`.
            packed: uint8 `(B, ceil(D / 8))`, LSB first: detections.
            abstain_above: shots with a cluster of flipped edges that weighs more commit nothing.
        """
        moves_BM = logits > 0
        detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
        explained = sp.csr_matrix(moves_BM, dtype=np.int32) @ self._flips
        defects_BD = ((explained.toarray() + detections) & 1).astype(bool)
        weight_BM = np.minimum(np.abs(logits), _LARGEST_WEIGHT)
        shots = np.flatnonzero(defects_BD.any(axis=1))
        weight_BM, defects_BD = weight_BM[shots], defects_BD[shots]
        unsure_BD, unmatched_BD = defects_BD, np.full(defects_BD.shape, _REACHES[0])
        near_BM, flipped_BM = np.zeros(weight_BM.shape, dtype=bool), np.zeros(weight_BM.shape, dtype=bool)
        for reach in _REACHES:
            if not len(shots):
                break
            last = not math.isfinite(reach)
            if last:
                unsure_BD = defects_BD
            # At last, above every path that there is.
            unmatched_BD[unsure_BD] = _SCALE * _LARGEST_WEIGHT if last else reach
            self._look(weight_BM, defects_BD, unsure_BD, near_BM, reach)
            unsure_BD = self._match(
                weight_BM, defects_BD, unsure_BD, unmatched_BD, near_BM, flipped_BM, reach
            )
            again = unsure_BD.any(axis=1) & (not last)
            moves_BM[shots[~again]] ^= flipped_BM[~again]
            shots, weight_BM, defects_BD, unsure_BD, unmatched_BD, near_BM, flipped_BM = (
                part[again]
                for part in (shots, weight_BM, defects_BD, unsure_BD, unmatched_BD, near_BM, flipped_BM)
            )
        maximum = self._maximum_weight(logits, moves_BM)
        moves_BM[maximum > abstain_above] = False
        return Matched(moves_BM.view(np.uint8), maximum, np.zeros(len(logits), dtype=bool))

    def _look(
        self,
        weight_BM: np.ndarray,
        defects_BD: np.ndarray,
        unsure_BD: np.ndarray,
        near_BM: np.ndarray,
        reach: float,
    ) -> None:
        """Marks moves on paths of at most twice the reach from an unsure defect to any, or the boundary."""
        if not math.isfinite(reach):
            near_BM[:] = True
            return
        graph = self._graph.of(weight_BM)
        every = np.pad(defects_BD, ((0, 0), (0, 1)), constant_values=True)
        some = np.pad(unsure_BD, ((0, 0), (0, 1)))
        near = dijkstra(graph, indices=np.flatnonzero(every), min_only=True, limit=reach)
        far = dijkstra(graph, indices=np.flatnonzero(some), min_only=True, limit=2 * reach)
        reached = (np.isfinite(near) | np.isfinite(far)).reshape(every.shape)
        shot, move = np.nonzero(reached[:, self._ends[0]] & reached[:, self._ends[1]])
        a, b = self._ends[:, move] + shot * every.shape[1]
        path = np.minimum(far[a] + near[b], near[a] + far[b]) + weight_BM[shot, move]
        short = path <= 2 * reach
        near_BM[shot[short], move[short]] = True

    def _match(
        self,
        weight_BM: np.ndarray,
        defects_BD: np.ndarray,
        unsure_BD: np.ndarray,
        unmatched_BD: np.ndarray,
        near_BM: np.ndarray,
        flipped_BM: np.ndarray,
        reach: float,
    ) -> np.ndarray:
        """Flip the best edges among the moves that are near, wherever these connect to an unsure defect.

        Returns:
            bool `(B, D)`: defects that may do better with more moves, as one of their region is unmatched.
        """
        shot, move = np.nonzero(near_BM)
        at, detector = np.nonzero(defects_BD)
        whole = self._problem(shot, move, at, detector)
        region = whole.components(np.ones(len(move), dtype=bool))
        active = np.zeros(whole.nodes, dtype=bool)
        active[region[whole.defect[unsure_BD[at, detector]]]] = True
        moves, defects = active[region[whole.first]], active[region[whole.defect]]
        shot, move, at, detector = shot[moves], move[moves], at[defects], detector[defects]
        part, weight = self._problem(shot, move, at, detector), weight_BM[shot, move]
        flipped, unmatched = part.lightest(
            weight, unmatched=unmatched_BD[at, detector], largest=_SCALE * min(reach, _LARGEST_WEIGHT)
        )
        flipped_BM[shot, move] = flipped
        # With longer reaches, what is unmatched in a region may be any of its defects.
        again = np.zeros(part.nodes, dtype=bool)
        region = part.components(np.ones(len(move), dtype=bool))[part.defect]
        again[region[unmatched]] = True
        unsure = again[region]
        result = np.zeros(defects_BD.shape, dtype=bool)
        result[at[unsure], detector[unsure]] = True
        return result

    def _maximum_weight(self, flat_BM: np.ndarray, moves_BM: np.ndarray) -> np.ndarray:
        """The weight of the heaviest cluster of flipped edges: float `(B,)`."""
        shot, move = np.nonzero(moves_BM != (flat_BM > 0))
        nothing = np.zeros(0, dtype=np.int64)
        problem = self._problem(shot, move, nothing, nothing)
        cluster = problem.components(np.ones(len(move), dtype=bool))[problem.first]
        weight = np.bincount(cluster, weights=np.abs(flat_BM[shot, move]), minlength=problem.nodes)
        maximum = np.zeros(len(flat_BM))
        np.maximum.at(maximum, shot, weight[cluster])
        return maximum

    def _problem(self, shot: np.ndarray, move: np.ndarray, at: np.ndarray, detector: np.ndarray) -> _Problem:
        """Moves of some shots, and defects of some, over the detectors that they touch."""
        ends = self._ends[:, move] + shot * self._num_detectors
        inside = np.flatnonzero(self._ends[1, move] < self._num_detectors)
        touched = np.concatenate([ends[0], ends[1, inside], at * self._num_detectors + detector])
        nodes, local = np.unique(touched, return_inverse=True)
        first, second, defect = np.split(local, [len(move), len(move) + len(inside)])
        return _Problem(first, second, inside, defect, len(nodes))


@dataclass(frozen=True)
class _Problem:
    """Edges over nodes 0, 1, ..., and the nodes that are defects.

    Attributes:
        first: one end of every edge.
        second: the other end of the edges `inside`; the others end on the boundary, which is no node.
        inside: numbers of those edges.
        defect: nodes.
        nodes: how many.
    """

    first: np.ndarray
    second: np.ndarray
    inside: np.ndarray
    defect: np.ndarray
    nodes: int

    def components(self, used: np.ndarray) -> np.ndarray:
        """The number of every node's component in the graph of the edges used, bool `(edges,)`."""
        among = used[self.inside]
        row, column = self.first[self.inside[among]], self.second[among]
        graph = sp.coo_matrix((np.ones(len(row)), (row, column)), shape=(self.nodes, self.nodes))
        return connected_components(graph, directed=False)[1]

    def lightest(
        self, weight: np.ndarray, *, unmatched: np.ndarray, largest: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Edges that explain the defects at the lowest weight, and defects that stay unmatched at theirs.

        `largest` is above all weights, and an edge apart from all others has it.
        """
        edges, defects = len(self.first), len(self.defect)
        columns = np.arange(edges + defects + 1)
        row = np.concatenate([self.first, self.second, self.defect, [self.nodes]])
        column = np.concatenate([columns[:edges], self.inside, columns[edges:]])
        matrix = sp.csc_matrix(
            (np.ones(len(row), dtype=np.uint8), (row, column)), shape=(self.nodes + 1, len(columns))
        )
        weights = np.concatenate([weight, unmatched, [largest]])
        syndrome = np.zeros(self.nodes + 1, dtype=np.uint8)
        syndrome[self.defect] = 1
        solution = pymatching.Matching(matrix, weights=weights).decode(syndrome).astype(bool)
        return solution[:edges], solution[edges:-1]


class _Neighbours:
    """The graph of moves as sparse rows, for a whole batch of shots whose weights alone differ."""

    def __init__(self, ends: np.ndarray, *, nodes: int) -> None:
        """`ends`: int64 `(2, M)`; the last node is the boundary, which paths leave and do not enter."""
        inside = np.flatnonzero(ends[1] < nodes - 1)
        move = np.concatenate([np.arange(ends.shape[1]), inside])
        source = np.concatenate([ends[1], ends[0, inside]])
        target = np.concatenate([ends[0], ends[1, inside]])
        order = np.lexsort((target, source))
        self._move, self._target = move[order], target[order]
        self._starts = np.searchsorted(source[order], np.arange(nodes + 1))
        self._nodes = nodes
        self._rows = np.zeros(0, dtype=np.int32), np.zeros(1, dtype=np.int32)

    def of(self, weight_BM: np.ndarray) -> sp.csr_matrix:
        """All shots of a batch side by side, with their weights."""
        shots = len(weight_BM)
        indices, indptr = self._rows_of(shots)
        nodes = shots * self._nodes
        return sp.csr_matrix(
            (
                weight_BM[:, self._move].ravel().astype(np.float64),
                indices[: shots * len(self._move)],
                indptr[: nodes + 1],
            ),
            shape=(nodes, nodes),
        )

    def _rows_of(self, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and row pointers of at least so many shots; other threads see the old ones or the new."""
        rows = self._rows
        if len(rows[1]) <= shots * self._nodes:
            offset = np.arange(shots)[:, None]
            indices = (self._target + self._nodes * offset).ravel().astype(np.int32)
            starts = self._starts[1:] + len(self._move) * offset
            rows = indices, np.concatenate([[0], starts.ravel()]).astype(np.int32)
            self._rows = rows
        return rows
