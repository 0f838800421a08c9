"""Decoders that look for the likeliest faults of a shot, and their gaps.

The other value of an observable is what the same search finds with the observable as one more detector, which
fires where that value says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import sinter

from global_decoders.packed_shots import PackedShotFormat
from global_decoders.soft_output import WithGap, relative_gap
from qec import Faults

__all__ = ["FaultSearchDecoder", "ForcedClasses", "MakeSearch", "Search"]

Search = Callable[[np.ndarray], "Sequence[int] | np.ndarray"]
"""From detections, uint8 (num_detectors,) of 0 and 1, to indices of faults that explain them."""
MakeSearch = Callable[[Faults], Search]


class ForcedClasses:
    """Searches in which an observable has a value that is given, one for every observable."""

    def __init__(self, faults: Faults, make_search: MakeSearch) -> None:
        """Prepare nothing yet: most who decode never ask."""
        self._faults, self._make_search = faults, make_search
        self._weights = faults.weights()
        self._searches: dict[int, Search] = {}

    def weight(self, faults: Sequence[int] | np.ndarray) -> float:
        """Sum of log((1 - p) / p)."""
        return float(self._weights[np.asarray(faults, dtype=np.intp)].sum())

    def least_weight(self, bits: np.ndarray, observable: int, value: int) -> float:
        """Of faults that explain detections, uint8 (num_detectors,), and give an observable a value.

        Infinite where none are found.
        """
        flips = self._faults.observable_flips[:, observable]
        if not flips.any():
            return math.inf if value else 0.0
        if observable not in self._searches:
            self._searches[observable] = self._make_search(with_detector_of(self._faults, observable))
        found = np.asarray(self._searches[observable](np.append(bits, np.uint8(value))), dtype=np.intp)
        left = bits.copy()
        for fault in found:
            left[list(self._faults.detectors[fault])] ^= 1
        explained = not left.any() and flips[found].sum() % 2 == value
        return self.weight(found) if explained else math.inf

    def log_odds(self, bits: np.ndarray, *, flips: np.ndarray, weight: float) -> np.ndarray:
        """Log-odds of no flip, float64 (num_observables,).

        Args:
            bits: detections, uint8 (num_detectors,).
            flips: what was predicted, 0 and 1 of shape (num_observables,).
            weight: of the faults that it was predicted by.
        """
        gaps = [self.least_weight(bits, k, 1 - int(flip)) - weight for k, flip in enumerate(flips)]
        return np.where(flips, -np.array(gaps), gaps)


def with_detector_of(faults: Faults, observable: int) -> Faults:
    """The faults, with a further detector that those fire which flip an observable."""
    extra = (faults.num_detectors,)
    flips = faults.observable_flips[:, observable]
    return dataclasses.replace(
        faults,
        detectors=tuple(d + extra if flip else d for d, flip in zip(faults.detectors, flips, strict=True)),
        num_detectors=faults.num_detectors + 1,
    )


class FaultSearchDecoder(sinter.CompiledDecoder):
    """A compiled decoder over a search, shot by shot."""

    def __init__(self, faults: Faults, make_search: MakeSearch, *, gap_scale: float = 1.0) -> None:
        """Make the search.

        Args:
            faults: of the DEM.
            make_search: called for them, and for gaps with an observable as one more detector.
            gap_scale: factor on gaps that makes them log-odds.
        """
        self.shot_format = PackedShotFormat.of_faults(faults)
        self._faults, self._search = faults, make_search(faults)
        self._classes, self._gap_scale = ForcedClasses(faults, make_search), gap_scale

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (shots, ceil(num_detectors/8)) -> uint8 (shots, ceil(num_observables/8))."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        flips = np.zeros((len(packed), self.shot_format.num_observables), dtype=np.uint8)
        if self.shot_format.num_observables:
            for shot, row in enumerate(packed):
                flips[shot] = self._faults.flips_of(self._search(self.shot_format.unpacked(row)))
        return np.packbits(flips, axis=1, bitorder="little")

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """The same predictions, and what the likeliest faults of the other class weigh more."""
        packed = self.shot_format.checked(bit_packed_detection_event_data)
        flips = np.zeros((len(packed), self.shot_format.num_observables), dtype=np.uint8)
        log_odds = np.zeros(flips.shape)
        if self.shot_format.num_observables:
            for shot, row in enumerate(packed):
                bits = self.shot_format.unpacked(row)
                found = self._search(bits)
                flips[shot] = self._faults.flips_of(found)
                log_odds[shot] = self._classes.log_odds(
                    bits, flips=flips[shot], weight=self._classes.weight(found)
                )
        predictions = np.packbits(flips, axis=1, bitorder="little")
        return WithGap(predictions, relative_gap(self._gap_scale * log_odds, predictions))
