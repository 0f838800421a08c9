"""Which of the network's moves are committed, by a matching on its own logits: all that explain the shot.

Taken as log-odds of independent moves, the logits say which set of moves is the likeliest among those
that explain the whole syndrome. Moves with a positive logit are nearly that set; what they leave of the
syndrome, its defects, is explained by changing one's mind about moves, each at the price of its |logit|,
as cheaply as can be: a minimum-weight matching of the defects, of which there are few.

Shape legend: B shots, D detectors, M moves of `MoveSet`.
"""

from __future__ import annotations

import math

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

    def __init__(self, layout: DetectorLayout) -> None:
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
        unsure_BD, near_BM = defects_BD, np.zeros(price_BM.shape, dtype=bool)
        for reach in _REACHES:
            if not len(shots):
                break
            near_BM |= self._within_reach(price_BM, defects_BD, unsure_BD, reach)
            changed_BM, unsure_BD = self._match(price_BM, defects_BD, near_BM, reach)
            again = unsure_BD.any(axis=1) & (reach < _REACHES[-1])
            moves_BM[shots[~again]] ^= changed_BM[~again]
            shots, price_BM, defects_BD, unsure_BD, near_BM = (
                part[again] for part in (shots, price_BM, defects_BD, unsure_BD, near_BM)
            )
        committed = np.zeros((len(logits), math.prod(logits.shape[1:])), dtype=np.uint8)
        committed[:, self._position] = moves_BM
        return committed.reshape(logits.shape)

    def _match(
        self, price_BM: np.ndarray, defects_BD: np.ndarray, near_BM: np.ndarray, reach: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best changes out of the moves that are near, and defects that may do better with more.

        These were left over, or belong to changes that cost more than the reach.

        Returns:
            bool `(B, M)` and bool `(B, D)`.
        """
        shot, move = np.nonzero(near_BM)
        width = self._num_detectors + 1
        ends = self._ends[:, move] + shot * width
        inside = self._ends[1, move] < self._num_detectors
        at, detector = np.nonzero(defects_BD)
        nodes, local = np.unique(
            np.concatenate([ends[0], ends[1, inside], at * width + detector]), return_inverse=True
        )
        # One column a move, then one a defect for leaving it over.
        columns = np.arange(len(move))
        column = np.concatenate([columns, columns[inside], len(move) + np.arange(len(at))])
        matrix = sp.csc_matrix(
            (np.ones(len(column), dtype=np.uint8), (local, column)),
            shape=(len(nodes), len(move) + len(at)),
        )
        dear = np.full(len(at), _LEFT * min(reach, _DEAREST))
        matching = pymatching.Matching(matrix, weights=np.concatenate([price_BM[shot, move], dear]))
        syndrome = np.zeros(len(nodes), dtype=np.uint8)
        syndrome[local[len(local) - len(at) :]] = 1
        solution = matching.decode(syndrome).astype(bool)
        used = np.flatnonzero(solution[: len(move)])
        changed_BM = np.zeros(price_BM.shape, dtype=bool)
        changed_BM[shot[used], move[used]] = True
        # Changes that share a detector form a group. Defects pair up within groups, so another explanation of
        # one group, or of two, is within reach unless it costs as much as they do.
        first = local[: len(move)]
        second = first.copy()
        second[inside] = local[len(move) : len(local) - len(at)]
        edges = sp.coo_matrix((np.ones(len(used)), (first[used], second[used])), shape=(len(nodes),) * 2)
        count, group = connected_components(edges, directed=False)
        cost = np.bincount(group[first[used]], weights=price_BM[shot[used], move[used]], minlength=count)
        unsure = solution[len(move) :] | (cost[group[local[len(local) - len(at) :]]] > reach)
        unsure_BD = np.zeros(defects_BD.shape, dtype=bool)
        unsure_BD[at[unsure], detector[unsure]] = True
        return changed_BM, unsure_BD

    def _within_reach(
        self, price_BM: np.ndarray, defects_BD: np.ndarray, unsure_BD: np.ndarray, reach: float
    ) -> np.ndarray:
        """Moves on a path of at most twice the reach from an unsure defect to any other, or the boundary."""
        if not math.isfinite(reach):
            return np.ones(price_BM.shape, dtype=bool)
        shots = len(price_BM)
        graph = self._graph.of(price_BM)
        every = np.pad(defects_BD, ((0, 0), (0, 1)), constant_values=True)
        some = np.pad(unsure_BD, ((0, 0), (0, 1)))
        near = dijkstra(graph, indices=np.flatnonzero(every), min_only=True, limit=reach)
        far = dijkstra(graph, indices=np.flatnonzero(some), min_only=True, limit=2 * reach)
        near, far = near.reshape(shots, -1), far.reshape(shots, -1)
        a, b = self._ends
        return np.minimum(far[:, a] + near[:, b], near[:, a] + far[:, b]) + price_BM <= 2 * reach


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
