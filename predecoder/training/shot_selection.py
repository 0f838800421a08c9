"""Shots that a decoder can win or lose: the matchers disagree about them, or the network is unsure.

Which shots these are is a function of the syndrome alone. Shape legend: B shots, D detectors, M moves, O
observables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pymatching
import stim

from predecoder.training.labels import observables_as_detectors
from predecoder.training.logical_class import ClassMatching

__all__ = ["DisagreementShots", "MinedShots", "PlainGap"]


class DisagreementShots:
    """Tells which shots of a DEM plain and correlated PyMatching predict different observables for."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        self._plain, self._correlated = (
            pymatching.Matching.from_detector_error_model(dem, enable_correlations=on) for on in (False, True)
        )

    def correlated(self, packed: np.ndarray) -> np.ndarray:
        """Observables uint8 `(B, O)` of the correlated matching."""
        return self._correlated.decode_batch(packed, bit_packed_shots=True, enable_correlations=True)

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        plain = self._plain.decode_batch(packed, bit_packed_shots=True)
        return (plain != self.correlated(packed)).any(axis=1)


class PlainGap:
    """How much more the logical class 1 of each observable costs than class 0, by plain PyMatching."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        """Prepare a graph for every observable, which is one more detector of it.

        Raises:
            LayoutError: a component of the DEM flips an observable and two detectors.
        """
        self._num_detectors = dem.num_detectors
        self._graphs = [
            pymatching.Matching.from_detector_error_model(observables_as_detectors(dem, (k,)))
            for k in range(dem.num_observables)
        ]

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Gaps float64 `(B, O)` in nats, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        gaps = np.empty((len(packed), len(self._graphs)))
        for k, graph in enumerate(self._graphs):
            byte, bit = divmod(self._num_detectors + k, 8)
            syndrome = np.zeros((len(packed), -(-graph.num_detectors // 8)), dtype=np.uint8)
            syndrome[:, : packed.shape[1]] = packed
            _, zero = graph.decode_batch(syndrome, bit_packed_shots=True, return_weights=True)
            syndrome[:, byte] |= np.uint8(1 << bit)
            _, one = graph.decode_batch(syndrome, bit_packed_shots=True, return_weights=True)
            gaps[:, k] = one - zero
        return gaps


class MinedShots:
    """Tells those, and the shots that a network decides unlike correlated PyMatching, or barely.

    The network's decision is the better of its two logical classes, see `logical_class`. Tests come from
    cheap to dear, each on the shots that are not decided: nothing more is asked about those whose two classes
    differ much by plain matching. At d = 9, p = 0.006, that passes over three quarters of all shots, and one
    in fifty of those that would be kept.
    """

    def __init__(
        self,
        disagreement: DisagreementShots,
        plain_gap: PlainGap,
        matchings: Sequence[ClassMatching],
        logits: Callable[[np.ndarray], np.ndarray],
        *,
        small_gap: float,
        largest_plain_gap: float = np.inf,
    ) -> None:
        """Nothing is computed yet.

        Args:
            matchings: one for every observable.
            logits: float32 `(B, M)` of packed detections.
            small_gap: nats between the network's two classes below which a shot is kept.
            largest_plain_gap: nats between those of plain matching, from which on no shot is.
        """
        self._disagreement, self._plain_gap = disagreement, plain_gap
        self._matchings, self._logits = matchings, logits
        self._small_gap, self._largest_plain_gap = small_gap, largest_plain_gap

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(D / 8))` LSB first."""
        kept = np.zeros(len(packed), dtype=bool)
        gaps = self._plain_gap(packed)
        near = np.flatnonzero((np.abs(gaps) < self._largest_plain_gap).any(axis=1))
        if not len(near):
            return kept
        correlated = self._disagreement.correlated(packed[near]).astype(bool)
        disagree = ((gaps[near] < 0) != correlated).any(axis=1)
        kept[near[disagree]] = True
        left = near[~disagree]
        kept[left] = self._network_doubts(packed[left], correlated[~disagree])
        return kept

    def _network_doubts(self, packed: np.ndarray, correlated: np.ndarray) -> np.ndarray:
        """Bool `(B,)`: whether the network decides unlike correlated PyMatching, or barely."""
        doubts = np.zeros(len(packed), dtype=bool)
        if not len(packed):
            return doubts
        logits = self._logits(packed)
        for observable, matching in enumerate(self._matchings):
            gap = matching.gap(logits, packed, limit=self._small_gap)
            doubts |= (gap < 0) != correlated[:, observable]
            doubts |= np.abs(gap) < self._small_gap
        return doubts
