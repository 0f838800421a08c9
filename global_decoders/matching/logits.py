"""Matchings on logits: the likeliest edges that explain a shot, if each is there with odds of its own.

Edges with a positive logit are nearly that. What they leave of the detections, its defects, is explained by
changing edges, each at the weight |logit|.

Shape legend: B shots, D detectors, E edges. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import _qecpipe
from global_decoders.matching.matcher import Classes

__all__ = ["Int8Logits", "LogitMatcher", "Logits", "Moves"]


class Moves(NamedTuple):
    """Edges that are taken to be there.

    Attributes:
        moves: uint8 0/1 `(B, E)`.
        maximum_weight: float32 `(B,)`: of the heaviest cluster of edges that are not as their logits say;
            those that share a detector form a cluster.
    """

    moves: np.ndarray
    maximum_weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Int8Logits:
    """Logits in one byte each, as devices hand them down.

    Attributes:
        values: int8 `(B, E)`, in units of `step`.
        step: in nats.
    """

    values: np.ndarray
    step: float

    def __post_init__(self) -> None:
        if self.values.dtype != np.int8 or not 0 < self.step < math.inf:
            raise ValueError(
                f"int8 logits need int8 values and a positive step, not {self.values.dtype}, {self.step}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, shots: slice) -> Int8Logits:
        return Int8Logits(self.values[shots], self.step)

    def float32(self) -> np.ndarray:
        """The logits, float32 `(B, E)`."""
        return np.multiply(self.values, np.float32(self.step), dtype=np.float32)


Logits = np.ndarray | Int8Logits
"""Of B shots and E edges: float32 `(B, E)`, or one byte each."""


class LogitMatcher:
    """Matchings by logits of every shot; see `Matcher`, which takes weights, for the rest."""

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

    def match(self, logits: Logits, packed: np.ndarray, *, abstain_above: float = math.inf) -> Moves:
        """The likeliest edges. Where nothing explains a shot, they leave as few detections as can be.

        Args:
            logits: `(B, E)`.
            packed: `(B, ceil(D / 8))`.
            abstain_above: shots with a heavier cluster of changed edges get none.
        """
        values, step = _native(logits)
        return Moves(*self._native.match_moves(values, packed, abstain_above=abstain_above, step=step))

    def classes(self, logits: Logits, packed: np.ndarray) -> Classes:
        """The likeliest edges of both classes; weights are sums of -logit."""
        values, step = _native(logits)
        return Classes(*self._native.match_classes(packed, values, logits=True, step=step))

    def gap(self, logits: Logits, packed: np.ndarray, *, limit: float = math.inf) -> np.ndarray:
        """Log-odds of class 0 against class 1 by their likeliest edges, float32 `(B,)`; see `Matcher.gap`."""
        values, step = _native(logits)
        return self._native.gap(packed, values, logits=True, limit=limit, step=step)


def _native(logits: Logits) -> tuple[np.ndarray, float]:
    return (logits.values, logits.step) if isinstance(logits, Int8Logits) else (logits, 1.0)
