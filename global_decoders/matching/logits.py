"""Matchings on logits: the likeliest edges that explain a shot, if each is there with odds of its own.

Edges with a positive logit are nearly that. What they leave of the detections, its defects, is explained by
changing edges, each at the weight |logit|.

Shape legend: B shots, D detectors, E edges. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

import _qecpipe
from global_decoders.matching.matcher import Classes

__all__ = ["LogitMatcher", "Moves"]


class Moves(NamedTuple):
    """Edges that are taken to be there.

    Attributes:
        moves: uint8 0/1 `(B, E)`.
        maximum_weight: float32 `(B,)`: of the heaviest cluster of edges that are not as their logits say;
            those that share a detector form a cluster.
    """

    moves: np.ndarray
    maximum_weight: np.ndarray


class LogitMatcher:
    """Matchings by float32 logits of every shot; see `Matcher`, which takes weights, for the rest."""

    def __init__(self, ends: np.ndarray, *, num_detectors: int, flips: np.ndarray | None = None) -> None:
        """The graph.

        Args:
            ends: int `(2, E)`: the detectors of an edge, the second -1 where it ends on the boundary, both -1
                where a column of logits is no edge.
            num_detectors: D.
            flips: 0/1 `(E,)`: whether an edge flips the observable whose classes are asked for.

        Raises:
            ValueError: an edge does not end on detectors, or a cycle of edges between detectors flips the
                observable.
        """
        self._native = _qecpipe.Matcher(
            np.asarray(ends, dtype=np.int32),
            np.zeros(ends.shape[1], dtype=np.float32),
            num_detectors=num_detectors,
            flips=None if flips is None else np.asarray(flips, dtype=np.uint8),
        )

    def match(self, logits: np.ndarray, packed: np.ndarray, *, abstain_above: float = math.inf) -> Moves:
        """The likeliest edges. Where nothing explains a shot, they leave as few detections as can be.

        Args:
            logits: float32 `(B, E)`.
            packed: `(B, ceil(D / 8))`.
            abstain_above: shots with a heavier cluster of changed edges get none.
        """
        return Moves(*self._native.match_moves(logits, packed, abstain_above=abstain_above))

    def classes(self, logits: np.ndarray, packed: np.ndarray) -> Classes:
        """The likeliest edges of both classes; weights are sums of -logit."""
        return Classes(*self._native.match_classes(packed, logits, logits=True))

    def gap(self, logits: np.ndarray, packed: np.ndarray, *, limit: float = math.inf) -> np.ndarray:
        """Log-odds of class 0 against class 1 by their likeliest edges, float32 `(B,)`; see `Matcher.gap`."""
        return self._native.gap(packed, logits, logits=True, limit=limit)
