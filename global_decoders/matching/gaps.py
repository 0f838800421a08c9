"""Gaps of decoders that match on a DEM's edges: both classes of every observable by the native matcher."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from global_decoders.matching.graph import MatchingGraph
from global_decoders.matching.matcher import Matcher
from global_decoders.soft_output import NoGapError, relative_gap
from qec import NormalForm

__all__ = ["GAP_SCALE", "MatchingGaps", "scaled_gap"]

GAP_SCALE = {False: 0.8, True: 0.92}
"""Factor on gaps of plain and of correlated matchings that makes them log-odds: one matching stands for all
that are nearly as light, of which the other class has more. How well it holds: docs/results/confidence.md."""
_ABOVE_ROUNDING = 1 + 1e-6


def scaled_gap(gap: Callable[[float], np.ndarray], *, scale: float, limit: float) -> np.ndarray:
    """Gaps times a factor, of which those beyond `limit`, either way, are `limit` or `-limit`, to the bit.

    In float32 a limit that is divided by the factor and multiplied again may come out below itself, so that
    the surest shots would seem to have less.

    Args:
        gap: float32 gaps, of which those beyond the limit that it is given need not be told apart.
        scale: the factor.
        limit: of what is returned.
    """
    return np.clip(np.float32(scale) * gap(limit / scale * _ABOVE_ROUNDING), -limit, limit)


class MatchingGaps:
    """How much more the lightest matching of the other class weighs.

    Y errors at a patch's corners are always two edges (`NormalForm.decomposed_dem`): as one, they close
    cycles that flip the observable, and a matcher has no classes then. Plain matching decodes with one; some
    of its shots (one in a hundred at d = 5, p = 0.006) have a gap below 0 therefore.
    """

    def __init__(self, normal: NormalForm, *, correlated: bool, scale: float) -> None:
        """Prepare nothing yet: most who decode never ask.

        Args:
            normal: of the DEM.
            correlated: match twice; both classes have the weights that the first matching implies.
            scale: factor on gaps that makes them log-odds.
        """
        self._normal, self._correlated, self._scale = normal, correlated, scale

    def of(
        self,
        packed: np.ndarray,
        predictions: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        limit: float = math.inf,
    ) -> np.ndarray:
        """Gaps of predictions, as in `WithGap`.

        Args:
            packed: uint8 `(B, ceil(D / 8))`.
            predictions: uint8 `(B, ceil(O / 8))`.
            weights: float32 `(B, E)` for the edges of `graph`; None for its own.
            limit: see `log_odds`.

        Raises:
            NoGapError: a cycle of edges between detectors flips an observable.
        """
        return relative_gap(self.log_odds(packed, weights, limit=limit), predictions)

    def log_odds(
        self, packed: np.ndarray, weights: np.ndarray | None = None, *, limit: float = math.inf
    ) -> np.ndarray:
        """How likely observables are not flipped, float32 `(B, O)`; see `of`.

        Args:
            limit: log-odds beyond it, either way, are `limit` or `-limit`, and take less time.
        """
        gaps = np.empty((len(packed), self._normal.num_observables), dtype=np.float32)
        for k in range(gaps.shape[1]):
            gaps[:, k] = scaled_gap(
                lambda most, k=k: self._matcher.gap(packed, weights, observable=k, limit=most),
                scale=self._scale,
                limit=limit,
            )
        return gaps

    @property
    def graph(self) -> MatchingGraph:
        """What is matched on."""
        return self._matcher.graph

    @cached_property
    def _matcher(self) -> Matcher:
        graph = MatchingGraph.of_normal_form(self._normal, correlated=self._correlated, decomposed=True)
        matcher = Matcher(graph)
        nothing = np.zeros((0, -(-graph.num_detectors // 8)), dtype=np.uint8)
        for k in range(graph.num_observables):
            try:
                matcher.gap(nothing, observable=k)
            except ValueError as error:
                raise NoGapError(f"matching has no gap for L{k} of this DEM: {error}") from error
        return matcher
