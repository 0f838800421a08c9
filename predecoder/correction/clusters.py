"""Threshold policies carried out: which clusters of proposed moves are committed.

A wrong commit inside an ambiguous cluster costs more than none at all, and a chain is as sure as its
weakest link. So proposed moves that share a detector form a cluster, as do those whose detectors a hyperedge
joins, and a cluster stands or falls as one.

In streams, where a cluster that touches a detector which later moves or hyperedges may touch stays open, the
same is done in C++ (`native/streams/clusters.h`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from global_decoders.matching import Int8Logits, Logits
from predecoder.correction.hyperedges import Hyperedges
from predecoder.correction.policies import ThresholdPolicy
from qec import DecodingProblem

__all__ = ["ClusterDecision", "Proposed"]

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


class _Clusters:
    """Moves and pairs of detections by connected components.

    Attributes:
        of_move: the cluster of each.
    """

    def __init__(self, moves: Proposed, pairs: np.ndarray) -> None:
        ends, count = np.concatenate([moves.ends, pairs], axis=1), len(moves.logits)
        self._nodes, local = np.unique(ends, return_inverse=True)
        local, size = local.reshape(ends.shape), len(self._nodes)
        edges = sp.coo_matrix((np.ones(ends.shape[1], dtype=np.uint8), (local[0], local[1])), (size, size))
        self._count, self._of_node = connected_components(edges, directed=False)
        self.of_move = self._of_node[local[0, :count]]
        self._logits, self._ends = moves.logits, local[:, :count]

    def accepted(self, policy: ThresholdPolicy, fired: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Which clusters the policy commits, bool.

        Args:
            fired: whether nodes int64 `(k,)` fired, 0/1.
        """
        weakest = np.full(self._count, np.inf)
        np.minimum.at(weakest, self.of_move, self._logits)
        accepted = weakest >= policy.commit
        if policy.residual == "empty":
            size = len(self._nodes)
            flips = np.bincount(self._ends[0], minlength=size)
            two = self._ends[0] != self._ends[1]
            flips += np.bincount(self._ends[1, two], minlength=size)
            events = fired(self._nodes)
            accepted[self._of_node[(flips + events) % 2 == 1]] = False
        return accepted


class ClusterDecision:
    """A threshold policy on whole shots.

    Attributes:
        policy: the rule.
        hyperedges: that join clusters; None where they do not matter.
    """

    def __init__(self, problem: DecodingProblem, policy: ThresholdPolicy) -> None:
        self.policy, self._num_detectors = policy, problem.layout.num_detectors
        self.hyperedges = None
        if policy.clustering == "hyperedges" and not policy.commits_all:
            self.hyperedges = Hyperedges.of_problem(problem)
        ends = problem.moves.ends.astype(np.int64)
        self._ends = np.where(ends < 0, ends[0], ends)

    def __call__(self, logits: Logits, packed: np.ndarray) -> np.ndarray:
        """Commit moves; see `Decision`."""
        if isinstance(logits, Int8Logits):
            logits = logits.float32()
        proposed = logits > self.policy.propose
        if self.policy.commits_all:
            return proposed.astype(np.uint8)
        committed = np.zeros(proposed.shape, dtype=np.uint8)
        shot, move = np.nonzero(proposed)
        if not len(shot):
            return committed
        detections = np.unpackbits(packed, axis=1, count=self._num_detectors, bitorder="little")
        pairs = _NO_PAIRS if self.hyperedges is None else self.hyperedges.fired(detections)
        # One after the other, shots are like a long experiment whose parts nothing joins.
        moves = Proposed(
            logits[shot, move], self._ends[:, move] + shot * self._num_detectors, np.stack([shot, move])
        )
        flat = detections.ravel()
        clusters = _Clusters(moves, pairs)
        accepted = clusters.accepted(self.policy, lambda nodes: flat[nodes])
        committed[tuple(moves.where(accepted[clusters.of_move]).tags)] = 1
        return committed
