"""Matching graphs of windows, each built once."""

from __future__ import annotations

import numpy as np
import pymatching
import stim

from global_decoders.pymatching_adapter import CompiledPyMatching
from global_decoders.windows.cut import WindowDem
from global_decoders.windows.remembered import MOST_BYTES, Remembered

__all__ = ["INNER_DECODERS", "WindowMatcher"]

INNER_DECODERS = {"pymatching": False, "pymatching-correlated": True}
"""Global decoders whose matching says which edges it used, by their registered names: correlated or not."""


class WindowMatcher:
    """PyMatching on one window's graph, warm.

    PyMatching predicts one bit per fault id, in any of its modes; a window's fault ids are the
    observables and the seam detectors of what it owns, so a prediction is all that is handed on.
    Up to 64 fault ids it never has to trace a path back.
    """

    def __init__(self, window_dem: WindowDem, *, inner: str) -> None:
        self.window_dem = window_dem
        self.input_index = {place: k for k, place in enumerate(window_dem.inputs)}
        correlated = INNER_DECODERS[inner]
        # Not through the adapter: it checks every mechanism, as LayeredDem did once for all windows.
        matching = pymatching.Matching.from_detector_error_model(
            stim.DetectorErrorModel(window_dem.text), enable_correlations=correlated
        )
        matching.ensure_num_fault_ids(window_dem.num_fault_ids)
        self._compiled = CompiledPyMatching(
            matching=matching, correlated=correlated, num_detectors=len(window_dem.inputs)
        )
        size = -(-len(window_dem.inputs) // 8)
        # Not all zero where a mechanism is likelier than not. Warms the graph.
        self._quiet = self._decode(np.zeros((1, size), dtype=np.uint8))
        self._remembered = Remembered(self._decode, size=size) if 0 < size <= MOST_BYTES else None

    def decode(self, detections: np.ndarray) -> np.ndarray:
        """uint8 0/1 (shots, inputs) -> uint8 0/1 (shots, observables + seam), both in the DEM's order.

        Raises:
            ValueError: a syndrome that no set of edges explains.
        """
        packed = np.packbits(detections, axis=1, bitorder="little")
        if self._remembered is not None:
            return self._remembered(packed)
        busy = packed.any(axis=1)
        if busy.all():
            return self._decode(packed)
        flips = np.repeat(self._quiet, len(packed), axis=0)
        if busy.any():
            flips[busy] = self._decode(packed[busy])
        return flips

    def _decode(self, packed: np.ndarray) -> np.ndarray:
        predictions = self._compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        return np.unpackbits(predictions, axis=1, bitorder="little", count=self.window_dem.num_fault_ids)
