"""Threshold policies carried out: which clusters of proposed moves are committed.

A wrong commit inside an ambiguous cluster costs more than none at all, and a chain is as sure as its
weakest link. So proposed moves that share a detector form a cluster, as do those whose detectors a hyperedge
joins, and a cluster stands or falls as one.

While the end of an experiment is not in sight, a cluster that touches a detector which later moves or
hyperedges may touch stays open. A batch of whole shots is the same, fed all at once: nothing stays open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from predecoder.correction.hyperedges import Hyperedges
from predecoder.correction.policies import ThresholdPolicy
from qec import DecodingProblem

__all__ = ["LONGEST_WAIT", "ClusterDecision", "Proposed", "StreamingClusters"]

LONGEST_WAIT = 64
"""Layers that an open cluster may hold back. Past that its moves are given up: they are left to decode."""

_NO_PAIRS = np.zeros((2, 0), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Proposed:
    """Moves whose logits say that they may be right: n of them, over detectors that are numbered in time.

    Attributes:
        logits: float `(n,)`.
        ends: int64 `(2, n)`: the detectors of each; a move with one has it twice.
        tags: `(..., n)`: whatever the caller wants back with the moves that are committed.
    """

    logits: np.ndarray
    ends: np.ndarray
    tags: np.ndarray

    def where(self, chosen: np.ndarray) -> Proposed:
        """The moves that are `chosen`, bool `(n,)`."""
        return Proposed(self.logits[chosen], self.ends[:, chosen], self.tags[..., chosen])

    def __add__(self, other: Proposed) -> Proposed:
        parts = ((self.logits, other.logits), (self.ends, other.ends), (self.tags, other.tags))
        return Proposed(*(np.concatenate(pair, axis=-1) for pair in parts))


class StreamingClusters:
    """The proposed moves that are not judged yet, with the pairs of detections that join them."""

    def __init__(self, policy: ThresholdPolicy, *, longest_wait: int) -> None:
        """`longest_wait`: detectors, in order, that an open cluster may hold back."""
        self._policy, self._longest_wait = policy, longest_wait
        self._open: Proposed | None = None
        self._pairs = _NO_PAIRS

    def finalize(
        self,
        moves: Proposed,
        pairs: np.ndarray = _NO_PAIRS,
        *,
        fired: Callable[[np.ndarray], np.ndarray],
        limit: int | None = None,
    ) -> tuple[Proposed, int | None]:
        """Judge every cluster that is closed.

        Args:
            moves: proposed since the last call; all moves that touch a detector before `limit` are
                known now.
            pairs: int64 `(2, m)`: detectors that fired and belong to one cluster, of hyperedges
                (`Hyperedges.fired`) that begin among the same detectors.
            fired: whether detectors int64 `(k,)` fired, 0/1; asked of moves' ends that no pair touches.
            limit: what is still to come touches detectors from this one on only; None where nothing is.

        Returns:
            The moves that are committed, and the detector before which no later call commits any: None
            where that is all of them.
        """
        if self._policy.commits_all:
            return moves, limit
        if self._open is not None:
            moves = self._open + moves
            pairs = np.concatenate([self._pairs, pairs], axis=1)
            self._open, self._pairs = None, _NO_PAIRS
        if not len(moves.logits) and not pairs.size:
            return moves, limit
        clusters = _Clusters(moves, pairs)
        if limit is None:
            return moves.where(clusters.accepted(self._policy, fired)[clusters.of_move]), None
        first, last = clusters.span()
        closed = last < limit
        waiting = ~closed & (first >= limit - self._longest_wait)
        accepted = clusters.accepted(self._policy, fired, among=closed) & closed
        held = moves.where(waiting[clusters.of_move])
        self._open, self._pairs = held, pairs[:, waiting[clusters.of_pair]]
        # What only joins clusters holds nothing back: it changes no detector.
        frontier = min(limit, int(held.ends.min(initial=limit)))
        return moves.where(accepted[clusters.of_move]), frontier


class _Clusters:
    """Moves and pairs of detections by connected components.

    Attributes:
        of_move, of_pair: the cluster of each.
    """

    def __init__(self, moves: Proposed, pairs: np.ndarray) -> None:
        ends, count = np.concatenate([moves.ends, pairs], axis=1), len(moves.logits)
        self._nodes, local = np.unique(ends, return_inverse=True)
        local, size = local.reshape(ends.shape), len(self._nodes)
        edges = sp.coo_matrix((np.ones(ends.shape[1], dtype=np.uint8), (local[0], local[1])), (size, size))
        self._count, self._of_node = connected_components(edges, directed=False)
        of_end = self._of_node[local[0]]
        self.of_move, self.of_pair = of_end[:count], of_end[count:]
        self._logits, self._ends, self._paired = moves.logits, local[:, :count], local[:, count:]

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last detector of each cluster."""
        first, last = np.full(self._count, np.iinfo(np.int64).max), np.full(self._count, -1)
        np.minimum.at(first, self._of_node, self._nodes)
        np.maximum.at(last, self._of_node, self._nodes)
        return first, last

    def accepted(
        self,
        policy: ThresholdPolicy,
        fired: Callable[[np.ndarray], np.ndarray],
        *,
        among: np.ndarray | None = None,
    ) -> np.ndarray:
        """Which clusters the policy commits, bool; of no meaning for those that are not `among` them."""
        weakest = np.full(self._count, np.inf)
        np.minimum.at(weakest, self.of_move, self._logits)
        accepted = weakest >= policy.commit
        if policy.residual == "empty":
            size = len(self._nodes)
            flips = np.bincount(self._ends[0], minlength=size)
            two = self._ends[0] != self._ends[1]
            flips += np.bincount(self._ends[1, two], minlength=size)
            events = np.zeros(size, dtype=np.int64)
            events[self._paired] = 1  # only detections are paired, and they may be out of memory by now
            asked = events == 0 if among is None else (events == 0) & among[self._of_node]
            events[asked] = fired(self._nodes[asked])
            accepted[self._of_node[(flips + events) % 2 == 1]] = False
        return accepted


class ClusterDecision:
    """A threshold policy on whole shots."""

    def __init__(self, problem: DecodingProblem, policy: ThresholdPolicy) -> None:
        self._policy, self._num_detectors = policy, problem.layout.num_detectors
        self._hyperedges = None
        if policy.clustering == "hyperedges" and not policy.commits_all:
            self._hyperedges = Hyperedges.of_problem(problem)
        ends = problem.moves.ends.astype(np.int64)
        self._ends = np.where(ends < 0, ends[0], ends)

    def __call__(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Commit moves; see `Decision`."""
        proposed = logits > self._policy.propose
        if self._policy.commits_all:
            return proposed.astype(np.uint8)
        committed = np.zeros(proposed.shape, dtype=np.uint8)
        shot, move = np.nonzero(proposed)
        if not len(shot):
            return committed
        detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
        pairs = _NO_PAIRS if self._hyperedges is None else self._hyperedges.fired(detections)
        # One after the other, shots are like a long experiment whose parts nothing joins.
        moves = Proposed(
            logits[shot, move], self._ends[:, move] + shot * self._num_detectors, np.stack([shot, move])
        )
        flat = detections.ravel()
        chosen, _ = StreamingClusters(self._policy, longest_wait=0).finalize(
            moves, pairs, fired=lambda nodes: flat[nodes]
        )
        committed[tuple(chosen.tags)] = 1
        return committed
