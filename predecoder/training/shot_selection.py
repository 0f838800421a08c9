"""Shots that a decoder can win or lose: the matchers disagree about them, or the network is unsure.

Which shots these are is a function of the syndrome alone. Shape legend: B shots, D detectors, M moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pymatching
import stim

from predecoder.training.logical_class import ClassMatching

__all__ = ["DisagreementShots", "MinedShots"]


class DisagreementShots:
    """Tells which shots of a DEM plain and correlated PyMatching predict different observables for."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        self._matchings = [
            (pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated), correlated)
            for correlated in (False, True)
        ]

    def predictions(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Observables uint8 `(B, O)` of the plain and of the correlated matching."""
        plain, correlated = (
            matching.decode_batch(packed, bit_packed_shots=True, enable_correlations=on)
            for matching, on in self._matchings
        )
        return plain, correlated

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        plain, correlated = self.predictions(packed)
        return (plain != correlated).any(axis=1)


class MinedShots:
    """Tells those, and the shots that a network decides unlike correlated PyMatching, or barely.

    The network's decision is the better of its two logical classes, see `logical_class`.
    """

    def __init__(
        self,
        disagreement: DisagreementShots,
        matchings: Sequence[ClassMatching],
        logits: Callable[[np.ndarray], np.ndarray],
        *,
        small_gap: float,
    ) -> None:
        """Nothing is computed yet.

        Args:
            matchings: one for every observable.
            logits: float32 `(B, M)` of packed detections.
            small_gap: nats between the two classes below which a shot is kept.
        """
        self._disagreement, self._matchings, self._logits = disagreement, matchings, logits
        self._small_gap = small_gap

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        plain, correlated = self._disagreement.predictions(packed)
        logits = self._logits(packed)
        kept = (plain != correlated).any(axis=1)
        for observable, matching in enumerate(self._matchings):
            gap = matching.gap(logits, packed, limit=self._small_gap)
            kept |= (gap < 0) != correlated[:, observable].astype(bool)
            kept |= np.abs(gap) < self._small_gap
        return kept
