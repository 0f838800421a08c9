"""The shots that a decoder gets wrong, of a DEM or of stronger noise."""

from __future__ import annotations

import numpy as np
import sinter
import stim

from qec import normal_form
from sims.rare.noise import TiltedNoise

__all__ = ["Failures"]

_BATCH = 1024
"""Shots that are decoded together, which bounds memory."""


class Failures:
    """Which sets of faults a decoder, compiled once for the DEM itself, does not correct.

    The decoder is a black box from detections to predictions. What fails is one fixed set: noise that is
    tilted for sampling's sake leaves the decoder as it is.

    Attributes:
        noise: of the DEM.
        decoded: shots so far.
    """

    def __init__(self, dem: stim.DetectorErrorModel, decoder: sinter.CompiledDecoder) -> None:
        normal = normal_form(dem)
        if not normal.num_observables:
            raise ValueError("the detector error model has no observable, so that no shot can fail")
        if not normal.tables.num_mechanisms:
            raise ValueError("the detector error model has no errors, so that no shot can fail")
        self.noise = TiltedNoise.of(normal)
        self.decoded = 0
        self._certain = normal.detector_flips, normal.observable_flips
        self._decoder = decoder

    def fail(self, keys: np.ndarray, *, shots: int) -> np.ndarray:
        """Bool `(shots,)`: whether any observable of a shot is predicted wrongly."""
        cuts = range(0, shots, _BATCH)
        places = np.searchsorted(keys, np.array([*cuts, shots]) * self.noise.num_mechanisms)
        parts = [
            self._fail(
                keys[places[k] : places[k + 1]] - first * self.noise.num_mechanisms,
                shots=min(_BATCH, shots - first),
            )
            for k, first in enumerate(cuts)
        ]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def _fail(self, keys: np.ndarray, *, shots: int) -> np.ndarray:
        detections, flips = self.noise.syndromes(keys, shots=shots)
        certain_detections, certain_flips = self._certain
        predicted = self._decoder.decode_shots_bit_packed(
            bit_packed_detection_event_data=detections ^ certain_detections
        )
        self.decoded += shots
        return (predicted != (flips ^ certain_flips)).any(axis=1)
