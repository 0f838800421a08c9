"""Which of the network's moves are committed, by a matching on its own logits: all that explain the shot.

Taken as log-odds of independent moves, the logits say which set of moves is the likeliest among those
that explain the whole syndrome. Moves with a positive logit are nearly that set; what they leave of the
syndrome, its defects, is explained by changing one's mind about moves, each at the price of its |logit|,
as cheaply as can be: a minimum-weight matching of the defects, of which there are few.

In C++ where there is a compiler; searches that would take long there are left to PyMatching.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from predecoder.native import NativeMatching, native_or_none
from predecoder.python_matching import PythonMatching
from qec import DecodingProblem

__all__ = ["MatchedDecision"]


class MatchedDecision:
    """Commits the moves that explain a shot whole and are the likeliest to do so."""

    def __init__(self, problem: DecodingProblem, *, doubt: float = math.inf, native: bool = True) -> None:
        """Prepares the graph of moves.

        Args:
            doubt: shots with a group of changes that costs more are left as they are, nothing committed.
            native: whether C++ may be used. The price of what is committed is the same without.
        """
        self._doubt = doubt
        ends, detectors = problem.moves.ends, problem.layout.num_detectors
        self._ends, self._num_detectors = ends, detectors
        self._native = (
            native_or_none(lambda: NativeMatching(ends, num_detectors=detectors)) if native else None
        )

    @cached_property
    def _python(self) -> PythonMatching:
        """Made when it is needed: C++ rarely leaves anything."""
        return PythonMatching(self._ends, num_detectors=self._num_detectors)

    def __call__(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Commits moves; see `Decision`."""
        if self._native is None:
            return self._python(logits, packed, doubt=self._doubt).moves
        moves, _, unsolved = self._native(logits, packed, doubt=self._doubt)
        if unsolved.any():
            moves[unsolved] = self._python(logits[unsolved], packed[unsolved], doubt=self._doubt).moves
        return moves
