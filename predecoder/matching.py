"""Which of the network's moves are committed, by a matching on its own logits: all that explain the shot.

Taken as log-odds of independent moves, the logits say which set of moves is the likeliest among those
that explain the whole syndrome. Moves with a positive logit are nearly that set; what they leave of the
syndrome, its defects, is explained by changing one's mind about moves, each at the price of its |logit|,
as cheaply as can be: a minimum-weight matching of the defects, of which there are few.

Shape legend: B shots, D detectors, M moves of `MoveSet`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pymatching
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, dijkstra

from predecoder.blocking import block
from qec.layout import DetectorLayout
from qec.moves import MoveSet

__all__ = ["MatchedDecision"]

_REACHES = (5.0, 10.0, 20.0, 40.0, math.inf)
"""Half the price up to which defects are matched; where that may not be the best, the next one."""
_LEFT = 10.0
"""Price of leaving a defect over, in reaches: above every path that is within reach."""
_DEAREST = 1000.0
"""No |logit| counts for more than this. With it, PyMatching's integer weights do not depend on the batch."""


class MatchedDecision:
    """Commits the moves that explain a shot whole and are the likeliest to do so."""

    def __init__(self, layout: DetectorLayout, *, doubt: float = math.inf) -> None:
        """`doubt`: shots with a group of changes that costs more are left as they are, nothing committed."""
        self._doubt = doubt
        moves = MoveSet.from_layout(layout)
        self._num_detectors = layout.num_detectors
        grid = np.full(layout.move_mask.shape, moves.num_moves, dtype=np.int64)
        grid.ravel()[moves.positions] = np.arange(moves.num_moves)
        blocked = block(grid[None]).ravel()
        self._position = np.empty(moves.num_moves, dtype=np.int64)
        exists = np.flatnonzero(blocked < moves.num_moves)
        self._position[blocked[exists]] = exists
        self._flips = sp.csr_matrix(moves.matrix.T.astype(np.int32))
        # A move has one or two ends; the second one of the former is the boundary, node D of its shot.
        first, last = (
            moves.matrix.indices[moves.matrix.indptr[:-1]],
            moves.matrix.indices[moves.matrix.indptr[1:] - 1],
        )
        self._ends = np.stack([first, np.where(first == last, self._num_detectors, last)]).astype(np.int64)
        self._graph = _Neighbours(self._ends, nodes=self._num_detectors + 1)

    def __call__(self, logits: np.ndarray, detections: np.ndarray) -> np.ndarray:
        """Commits moves.

        Args:
            logits: float `(B, t, i, j, 24)`, blocked as in `predecoder.blocking`.
            detections: uint8 0/1 `(B, D)`.

        Returns:
            uint8 0/1 `(B, t, i, j, 24)`.
        """
        flat_BM = logits.reshape(len(logits), math.prod(logits.shape[1:]))[:, self._position]
        moves_BM = flat_BM > 0
        explained = sp.csr_matrix(moves_BM, dtype=np.int32) @ self._flips
        defects_BD = ((explained.toarray() + detections) & 1).astype(bool)
        price_BM = np.minimum(np.abs(flat_BM), _DEAREST)
        shots = np.flatnonzero(defects_BD.any(axis=1))
        price_BM, defects_BD = price_BM[shots], defects_BD[shots]
        unsure_BD = defects_BD
        near_BM, changed_BM = np.zeros(price_BM.shape, dtype=bool), np.zeros(price_BM.shape, dtype=bool)
        for reach in _REACHES:
            if not len(shots):
                break
            self._look(price_BM, defects_BD, unsure_BD, near_BM, reach)
            unsure_BD = self._match(price_BM, defects_BD, unsure_BD, near_BM, changed_BM, reach)
            again = unsure_BD.any(axis=1) & (reach < _REACHES[-1])
            moves_BM[shots[~again]] ^= changed_BM[~again]
            shots, price_BM, defects_BD, unsure_BD, near_BM, changed_BM = (
                part[again] for part in (shots, price_BM, defects_BD, unsure_BD, near_BM, changed_BM)
            )
        if math.isfinite(self._doubt):
            moves_BM[self._dearest(flat_BM, moves_BM) > self._doubt] = False
        committed = np.zeros((len(logits), math.prod(logits.shape[1:])), dtype=np.uint8)
        committed[:, self._position] = moves_BM
        return committed.reshape(logits.shape)

    def _look(
        self,
        price_BM: np.ndarray,
        defects_BD: np.ndarray,
        unsure_BD: np.ndarray,
        near_BM: np.ndarray,
        reach: float,
    ) -> None:
        """Marks moves on paths of at most twice the reach from an unsure defect to any, or the boundary."""
        if not math.isfinite(reach):
            near_BM[:] = True
            return
        graph = self._graph.of(price_BM)
        every = np.pad(defects_BD, ((0, 0), (0, 1)), constant_values=True)
        some = np.pad(unsure_BD, ((0, 0), (0, 1)))
        near = dijkstra(graph, indices=np.flatnonzero(every), min_only=True, limit=reach)
        far = dijkstra(graph, indices=np.flatnonzero(some), min_only=True, limit=2 * reach)
        reached = (np.isfinite(near) | np.isfinite(far)).reshape(every.shape)
        shot, move = np.nonzero(reached[:, self._ends[0]] & reached[:, self._ends[1]])
        a, b = self._ends[:, move] + shot * every.shape[1]
        path = np.minimum(far[a] + near[b], near[a] + far[b]) + price_BM[shot, move]
        short = path <= 2 * reach
        near_BM[shot[short], move[short]] = True

    def _match(
        self,
        price_BM: np.ndarray,
        defects_BD: np.ndarray,
        unsure_BD: np.ndarray,
        near_BM: np.ndarray,
        changed_BM: np.ndarray,
        reach: float,
    ) -> np.ndarray:
        """Sets the best changes out of the moves that are near, wherever these connect to an unsure defect.

        Returns:
            bool `(B, D)`: defects that may do better with more moves. They were left over, or belong to
            changes that cost more than the reach.
        """
        shot, move = np.nonzero(near_BM)
        at, detector = np.nonzero(defects_BD)
        whole = self._problem(shot, move, at, detector)
        region = whole.components(np.ones(len(move), dtype=bool))
        active = np.zeros(whole.nodes, dtype=bool)
        active[region[whole.defect[unsure_BD[at, detector]]]] = True
        moves, defects = active[region[whole.first]], active[region[whole.defect]]
        shot, move, at, detector = shot[moves], move[moves], at[defects], detector[defects]
        part, price = self._problem(shot, move, at, detector), price_BM[shot, move]
        changes, left = part.cheapest(price, left=_LEFT * min(reach, _DEAREST))
        changed_BM[shot, move] = changes
        # Changes that share a detector form a group. Defects pair up within groups, so another
        # explanation of one group, or of two, is within reach unless it costs as much as they do.
        group = part.components(changes)
        cost = np.bincount(group[part.first[changes]], weights=price[changes], minlength=part.nodes)
        unsure = left | (cost[group[part.defect]] > reach)
        result = np.zeros(defects_BD.shape, dtype=bool)
        result[at[unsure], detector[unsure]] = True
        return result

    def _dearest(self, flat_BM: np.ndarray, moves_BM: np.ndarray) -> np.ndarray:
        """Price of the dearest group of changes of mind: float `(B,)`."""
        shot, move = np.nonzero(moves_BM != (flat_BM > 0))
        nothing = np.zeros(0, dtype=np.int64)
        problem = self._problem(shot, move, nothing, nothing)
        group = problem.components(np.ones(len(move), dtype=bool))[problem.first]
        cost = np.bincount(group, weights=np.abs(flat_BM[shot, move]), minlength=problem.nodes)
        dearest = np.zeros(len(flat_BM))
        np.maximum.at(dearest, shot, cost[group])
        return dearest

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

    def cheapest(self, price: np.ndarray, *, left: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges that explain the defects at the lowest price, and defects left over for `left` each."""
        edges, columns = len(self.first), np.arange(len(self.first) + len(self.defect))
        row = np.concatenate([self.first, self.second, self.defect])
        column = np.concatenate([columns[:edges], self.inside, columns[edges:]])
        matrix = sp.csc_matrix(
            (np.ones(len(row), dtype=np.uint8), (row, column)), shape=(self.nodes, len(columns))
        )
        weights = np.concatenate([price, np.full(len(self.defect), left)])
        syndrome = np.zeros(self.nodes, dtype=np.uint8)
        syndrome[self.defect] = 1
        solution = pymatching.Matching(matrix, weights=weights).decode(syndrome).astype(bool)
        return solution[:edges], solution[edges:]


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
        self._indices = np.zeros(0, dtype=np.int32)
        self._indptr = np.zeros(1, dtype=np.int32)

    def of(self, price_BM: np.ndarray) -> sp.csr_matrix:
        """All shots of a batch side by side, with their prices."""
        shots = len(price_BM)
        self._extend(shots)
        nodes = shots * self._nodes
        return sp.csr_matrix(
            (
                price_BM[:, self._move].ravel().astype(np.float64),
                self._indices[: shots * len(self._move)],
                self._indptr[: nodes + 1],
            ),
            shape=(nodes, nodes),
        )

    def _extend(self, shots: int) -> None:
        """Rows for at least so many shots."""
        if len(self._indptr) > shots * self._nodes:
            return
        offset = np.arange(shots)[:, None]
        self._indices = (self._target + self._nodes * offset).ravel().astype(np.int32)
        starts = self._starts[1:] + len(self._move) * offset
        self._indptr = np.concatenate([[0], starts.ravel()]).astype(np.int32)
