"""The policy `consistent` carried out: clusters of moves that a matching of the whole shot changes little.

Moves of positive logit and the likeliest moves that explain the shot (`MatchingDecision`) mostly agree. Where
they do not, edges are flipped, and what is joined to them by shared detectors is one cluster, whose
explanation is a compromise: it is left whole to the decoder behind. Clusters that need none, or a cheap one,
are committed as they were matched, so that a committed cluster leaves nothing.

A threshold on the weakest logit of a cluster (`ClusterDecision`) commits parts of an explanation: what it
leaves has lost the other part, and a matcher completes it wrongly. That policy loses half of what the network
knows (docs/experiments/20-consistent-clusters.md).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from global_decoders.matching import Int8Logits, Logits
from predecoder.correction.matching import MatchingDecision
from qec import DecodingProblem

__all__ = ["ConsistentDecision"]


class ConsistentDecision:
    """Commits what was matched in clusters whose flipped edges weigh little."""

    def __init__(self, problem: DecodingProblem, *, leave_above: float) -> None:
        """Prepare the matching.

        Args:
            problem: of the DEM.
            leave_above: weight of a cluster's flipped edges above which it is left as it is, in nats.
        """
        self._matching, self._leave_above = MatchingDecision(problem), leave_above
        self._num_detectors = problem.layout.num_detectors
        ends = problem.moves.ends.astype(np.int64)
        self._ends = np.where(ends < 0, ends[0], ends)  # the boundary joins nothing

    def __call__(self, logits: Logits, packed: np.ndarray) -> np.ndarray:
        """Commit moves; see `Decision`."""
        moves = self._matching(logits, packed)
        if isinstance(logits, Int8Logits):
            logits = logits.float32()
        proposed = logits > 0
        # One after the other, shots are like a long experiment whose parts nothing joins.
        shot, move = np.nonzero(proposed | (moves > 0))
        if not len(shot):
            return moves
        cluster = _clusters(self._ends[:, move] + shot * self._num_detectors)
        flipped = proposed[shot, move] != (moves[shot, move] > 0)
        weight = np.bincount(cluster, weights=np.abs(logits[shot, move]) * flipped)
        left = weight[cluster] > self._leave_above
        moves[shot[left], move[left]] = 0
        return moves


def _clusters(ends: np.ndarray) -> np.ndarray:
    """The connected component of each of n edges, int64 `(n,)`, between nodes int64 `(2, n)`."""
    nodes, local = np.unique(ends, return_inverse=True)
    first, second = local.reshape(ends.shape)
    edges = sp.coo_matrix((np.ones(len(first), dtype=np.uint8), (first, second)), (len(nodes), len(nodes)))
    _, of_node = connected_components(edges, directed=False)
    return of_node[first]
