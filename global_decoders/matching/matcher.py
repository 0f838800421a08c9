"""Matchings on one graph.

Shape legend: B shots, D detectors, E edges, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

import numpy as np
import sinter

import _qecpipe
from global_decoders.matching.graph import MatchingGraph
from global_decoders.packed_shots import checked_packed

__all__ = ["Classes", "Matched", "Matcher"]


class Matched(NamedTuple):
    """The lightest edges that explain shots.

    Attributes:
        edges: uint8 0/1 `(B, E)`. Where nothing explains a shot, they leave as few detections as can be.
        weight: float64 `(B,)`: the sum of the edges' weights.
        explained: bool `(B,)`.
    """

    edges: np.ndarray
    weight: np.ndarray
    explained: np.ndarray


class Classes(NamedTuple):
    """The lightest edges of both logical classes of an observable.

    Attributes:
        zero, one: uint8 0/1 `(B, E)`: edges that leave the observable alone, and that flip it.
        weights: float64 `(B, 2)`: of either; infinite, and without edges, where none explain the shot.
    """

    zero: np.ndarray
    one: np.ndarray
    weights: np.ndarray


class Matcher(sinter.CompiledDecoder):
    """Exact minimum-weight matching; of implied weights, the second of two matchings.

    The graph's weights are rounded to 2^-24 of the largest one, as PyMatching does, those of a shot to 2^-24
    (from 2^20 on, all weigh the same). All methods release the GIL; threads may share a matcher.

    >>> import numpy as np
    >>> graph = MatchingGraph(
    ...     ends=np.array([[0, 0, 1], [-1, 1, -1]], dtype=np.int32),
    ...     weights=np.array([3.0, 1.0, 4.0], dtype=np.float32),
    ...     observables=np.array([[1], [0], [0]], dtype=np.uint8),
    ...     num_detectors=2,
    ...     num_observables=1,
    ... )
    >>> matcher = Matcher(graph)
    >>> shots = np.array([[0b11], [0b10]], dtype=np.uint8)
    >>> matcher.match(shots).edges.tolist()
    [[0, 1, 0], [0, 0, 1]]
    >>> matcher.gap(shots).tolist()
    [6.0, 0.0]
    """

    def __init__(self, graph: MatchingGraph) -> None:
        """Prepare the graph.

        Raises:
            ValueError: an edge does not end on detectors, or a weight is not finite.
        """
        self.graph = graph
        self._native = self._make(None)
        self._of_classes: dict[int, _qecpipe.Matcher] = {}
        self._lock = threading.Lock()

    def match(self, packed: np.ndarray, weights: np.ndarray | None = None) -> Matched:
        """The lightest edges that explain shots.

        Args:
            packed: `(B, ceil(D / 8))`.
            weights: float32 `(B, E)`, of any sign; None for the graph's (and what they imply).
        """
        return Matched(*self._native.match(packed, weights))

    def classes(
        self, packed: np.ndarray, weights: np.ndarray | None = None, *, observable: int = 0
    ) -> Classes:
        """The lightest edges of both classes of an observable, whatever the others do; see `match`.

        Of two matchings, the second has classes: both with the weights that the first one implies.

        Raises:
            ValueError: a cycle of edges between detectors flips the observable; see `decomposed` of
                `MatchingGraph.of_normal_form`.
        """
        return Classes(*self._with(observable).match_classes(packed, weights))

    def gap(
        self,
        packed: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        observable: int = 0,
        limit: float = math.inf,
    ) -> np.ndarray:
        """How much more class 1 weighs than class 0, float32 `(B,)`: in nats where weights are log-odds.

        Infinite where only one of them explains a shot, NaN where neither does.

        Args:
            packed, weights, observable: see `classes`.
            limit: larger gaps are `limit`, or `-limit`, and take less time.
        """
        return self._with(observable).gap(packed, weights, limit=limit)

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """Predicted observable flips: uint8 `(B, ceil(O / 8))`.

        Raises:
            ValueError: shots of another shape, or detections that no edges explain.
        """
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.graph.num_detectors)
        predictions, explained = self._native.predict(packed, self.graph.observables)
        if not explained.all():
            raise ValueError(f"shot {np.flatnonzero(~explained)[0]}: no edges explain its detections")
        return predictions

    def _with(self, observable: int) -> _qecpipe.Matcher:
        with self._lock:
            if observable not in self._of_classes:
                self._of_classes[observable] = self._make(self.graph.flips(observable))
            return self._of_classes[observable]

    def _make(self, flips: np.ndarray | None) -> _qecpipe.Matcher:
        graph, implied = self.graph, self.graph.implied
        return _qecpipe.Matcher(
            graph.ends,
            graph.weights,
            num_detectors=graph.num_detectors,
            flips=flips,
            implied=None if implied is None else (implied.starts, implied.edges, implied.weights),
        )
