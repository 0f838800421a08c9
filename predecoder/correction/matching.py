"""The matching on a network's logits: the moves that explain a shot whole and are the likeliest to do so.

Taken as log-odds of independent moves, the logits say which set of moves is the likeliest among those
that explain the whole syndrome. Moves with a positive logit are nearly that set; what they leave of the
syndrome, its defects, is explained by flipping edges, that is, by deciding otherwise about moves, each at
the weight |logit| and as cheaply as can be: a minimum-weight matching of the defects, of which there are few.
"""

from __future__ import annotations

import math

import numpy as np

from global_decoders.matching import LogitMatcher, Logits
from qec import DecodingProblem

__all__ = ["MatchingDecision"]


class MatchingDecision:
    """Commits the moves that explain a shot whole, or none of them where a cluster is doubtful."""

    def __init__(self, problem: DecodingProblem, *, abstain_above: float = math.inf) -> None:
        """Prepare the graph of moves.

        Args:
            problem: of the DEM.
            abstain_above: the abstention threshold: shots with a cluster of flipped edges that weighs more
                are left as they are, nothing committed.
        """
        self._abstain_above = abstain_above
        self._matcher = LogitMatcher(problem.moves.ends, num_detectors=problem.layout.num_detectors)

    def __call__(self, logits: Logits, packed: np.ndarray) -> np.ndarray:
        """Commit moves; see `Decision`. They leave what no moves explain."""
        return self._matcher.match(logits, packed, abstain_above=self._abstain_above).moves
