"""Shots that a decoder can win or lose: the matchers disagree about them, or the network is unsure.

Which shots these are is a function of the syndrome alone. Shape legend: B shots, D detectors, M moves, O
observables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pymatching
import stim

from global_decoders.matching import Matcher, MatchingGraph
from predecoder.training.logical_class import ClassMatching
from qec import DecodingProblem

__all__ = ["DisagreementShots", "MinedShots", "ShotMatchers"]


class DisagreementShots:
    """Tells which shots of a DEM plain and correlated PyMatching predict different observables for."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        self._matchings = [
            (pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated), correlated)
            for correlated in (False, True)
        ]

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        plain, correlated = (
            matching.decode_batch(packed, bit_packed_shots=True, enable_correlations=on)
            for matching, on in self._matchings
        )
        return (plain != correlated).any(axis=1)


@dataclass(frozen=True)
class ShotMatchers:
    """What shots of a problem are mined with, beside a network; `classes` has one for every observable."""

    plain: Matcher
    correlated: Matcher
    classes: tuple[ClassMatching, ...]

    @classmethod
    def of(cls, problem: DecodingProblem) -> ShotMatchers:
        """Prepare them.

        Raises:
            LayoutError: a cycle of moves between detectors flips an observable.
        """
        return cls(
            Matcher(MatchingGraph.of_normal_form(problem.normal, decomposed=True)),
            Matcher(MatchingGraph.of_normal_form(problem.normal, correlated=True)),
            tuple(ClassMatching(problem.moves, k) for k in range(problem.layout.num_observables)),
        )


class MinedShots:
    """Tells which shots correlated matching decides unlike plain matching or a network, or the latter barely.

    The network's decision is the better of its two logical classes, see `logical_class`. Tests come from
    cheap to dear, each on the shots that are not decided: nothing more is asked about those whose two classes
    differ much by plain matching. At d = 9, p = 0.006, that passes over three quarters of all shots, and one
    in fifty of those that would be kept.
    """

    def __init__(
        self,
        matchers: ShotMatchers,
        logits: Callable[[np.ndarray], np.ndarray],
        *,
        small_gap: float,
        plain_gap: float = np.inf,
    ) -> None:
        """Nothing is computed yet.

        Args:
            logits: float32 `(B, M)` of packed detections, of the network.
            small_gap: nats between the network's two classes below which a shot is kept.
            plain_gap: nats between those of plain matching from which on no shot is.
        """
        self._matchers, self._logits = matchers, logits
        self._small_gap, self._plain_gap = small_gap, plain_gap

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first.

        Raises:
            ValueError: a cycle of the DEM's edges between detectors flips an observable.
        """
        kept = np.zeros(len(packed), dtype=bool)
        plain, observables = self._matchers.plain, range(len(self._matchers.classes))
        gaps = np.stack([plain.gap(packed, observable=k, limit=self._plain_gap) for k in observables], axis=1)
        near = np.flatnonzero((np.abs(gaps) < self._plain_gap).any(axis=1))
        if not len(near):
            return kept
        predicted = self._matchers.correlated.decode_shots_bit_packed(
            bit_packed_detection_event_data=packed[near]
        )
        correlated = np.unpackbits(predicted, axis=1, count=len(observables), bitorder="little").astype(bool)
        disagree = ((gaps[near] < 0) != correlated).any(axis=1)
        kept[near[disagree]] = True
        left = near[~disagree]
        if len(left):
            kept[left] = self._network_doubts(packed[left], correlated[~disagree])
        return kept

    def _network_doubts(self, packed: np.ndarray, correlated: np.ndarray) -> np.ndarray:
        """Bool `(B,)`: whether the network decides unlike correlated matching, or barely."""
        doubts = np.zeros(len(packed), dtype=bool)
        logits = self._logits(packed)
        for observable, matching in enumerate(self._matchers.classes):
            gap = matching.gap(logits, packed, limit=self._small_gap)
            doubts |= (gap < 0) != correlated[:, observable]
            doubts |= np.abs(gap) < self._small_gap
        return doubts
