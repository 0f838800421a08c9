"""Shots on which plain and correlated matching disagree: the ones that a pre-decoder can win or lose."""

from __future__ import annotations

import numpy as np
import pymatching
import stim

__all__ = ["Contested"]


class Contested:
    """Tells which shots of a DEM the two matchers predict different observables for."""

    def __init__(self, dem: stim.DetectorErrorModel) -> None:
        self._matchings = [
            (pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated), correlated)
            for correlated in (False, True)
        ]

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Bool `(B,)`, of detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first."""
        plain, correlated = (
            matching.decode_batch(packed, bit_packed_shots=True, enable_correlations=on)
            for matching, on in self._matchings
        )
        return (plain != correlated).any(axis=1)
