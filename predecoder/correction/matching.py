"""The matching on a network's logits: the moves that explain a shot whole and are the likeliest to do so.

Taken as log-odds of independent moves, the logits say which set of moves is the likeliest among those
that explain the whole syndrome. Moves with a positive logit are nearly that set; what they leave of the
syndrome, its defects, is explained by flipping edges, that is, by deciding otherwise about moves, each at
the weight |logit| and as cheaply as can be: a minimum-weight matching of the defects, of which there are few.

In C++; searches that would take long there are left to PyMatching.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from predecoder.correction.python_matching import PythonMatching
from predecoder.native import NativeMatching
from qec import DecodingProblem

__all__ = ["MatchingDecision"]


class MatchingDecision:
    """Commits the moves that explain a shot whole, or none of them where a cluster is doubtful."""

    def __init__(
        self, problem: DecodingProblem, *, abstain_above: float = math.inf, native: bool = True
    ) -> None:
        """Prepare the graph of moves.

        Args:
            problem: of the DEM.
            abstain_above: the abstention threshold: shots with a cluster of flipped edges that weighs more
                are left as they are, nothing committed.
            native: whether C++ may be used. The weight of what is committed is the same without.
        """
        self._abstain_above = abstain_above
        ends, detectors = problem.moves.ends, problem.layout.num_detectors
        self._ends, self._num_detectors = ends, detectors
        self._native = NativeMatching(ends, num_detectors=detectors) if native else None

    @cached_property
    def _python(self) -> PythonMatching:
        """The matching in Python, made when it is needed: C++ rarely leaves anything."""
        return PythonMatching(self._ends, num_detectors=self._num_detectors)

    def __call__(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Commit moves; see `Decision`."""
        if self._native is None:
            return self._python(logits, packed, abstain_above=self._abstain_above).moves
        moves, _, unsolved = self._native(logits, packed, abstain_above=self._abstain_above)
        if unsolved.any():
            moves[unsolved] = self._python(
                logits[unsolved], packed[unsolved], abstain_above=self._abstain_above
            ).moves
        return moves
