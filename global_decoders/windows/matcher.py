"""Matching graphs of windows, each built once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import stim

from global_decoders.pymatching_adapter import CompiledPyMatching, PyMatchingDecoder
from global_decoders.windows.cut import WindowDem, cut, cut_key
from global_decoders.windows.layers import LayeredDem, Mechanism
from global_decoders.windows.plan import Window

__all__ = ["INNER_DECODERS", "WindowGraphs", "WindowMatcher"]

INNER_DECODERS = {
    "pymatching": PyMatchingDecoder(),
    "pymatching-correlated": PyMatchingDecoder(correlated=True),
}
"""Global decoders whose matching says which edges it used, by their registered names."""


_WORTH_SORTING = 64
"""Shots from which on small windows (up to 128 detectors) decode each distinct syndrome once."""


class WindowMatcher:
    """PyMatching on one window's graph, warm.

    PyMatching predicts one bit per fault id, in any of its modes; a window's fault ids are the
    observables and the seam detectors of what it owns, so a prediction is all that is handed on.
    Up to 64 fault ids it never has to trace a path back.
    """

    def __init__(self, window_dem: WindowDem, *, inner: str) -> None:
        self.window_dem = window_dem
        self.input_index = {place: k for k, place in enumerate(window_dem.inputs)}
        self._compiled: CompiledPyMatching = INNER_DECODERS[inner].compile_decoder_for_dem(
            dem=stim.DetectorErrorModel(window_dem.text)
        )
        self._compiled.matching.ensure_num_fault_ids(window_dem.num_fault_ids)
        # Not all zero where a mechanism is likelier than not.
        self._quiet = self._decode(np.zeros((1, -(-len(window_dem.inputs) // 8)), dtype=np.uint8))

    def decode(self, detections: np.ndarray) -> np.ndarray:
        """uint8 0/1 (shots, inputs) -> uint8 0/1 (shots, observables + seam), both in the DEM's order.

        Raises:
            ValueError: a syndrome that no set of edges explains.
        """
        packed = np.packbits(detections, axis=1, bitorder="little")
        if packed.shape[1] <= 16 and len(packed) >= _WORTH_SORTING:
            distinct = _distinct(packed)
            if distinct is not None:
                first, which = distinct
                return self._decode(packed[first])[which]
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


def _distinct(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Index of one of each distinct row of at most 16 bytes, and which of these every row equals.

    Rows are sorted by a 64-bit hash; None in the unlikely case that two rows share one.
    """
    padded = np.zeros((len(packed), 16), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    words = padded.view(np.uint64)
    hashes = words[:, 0] + words[:, 1] * np.uint64(0x9E3779B97F4A7C15)
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return (first, which) if np.array_equal(words[first][which], words) else None


class WindowGraphs:
    """The matchers of an experiment's windows; windows with equal DEMs share one.

    Args:
        inner: a name in `INNER_DECODERS`.
    """

    def __init__(self, *, inner: str) -> None:
        if inner not in INNER_DECODERS:
            raise ValueError(
                f"inner={inner!r} cannot decode windows, which need to know the edges that were used; "
                f"choose one of {', '.join(INNER_DECODERS)}"
            )
        self.inner = inner
        self._by_key: dict[object, WindowMatcher] = {}
        self._by_dem: dict[WindowDem, WindowMatcher] = {}

    def __len__(self) -> int:
        """Number of distinct graphs built so far."""
        return len(self._by_dem)

    def matcher(
        self, layers: LayeredDem, window: Window, *, more: Iterable[tuple[int, Mechanism]] = ()
    ) -> WindowMatcher:
        """The warm matcher of `cut(layers, window, more=more)`. Always with the same `layers.kinds`."""
        more = tuple(more)
        key = (cut_key(layers, window), tuple((t - window.start, mechanism) for t, mechanism in more))
        if key not in self._by_key:
            window_dem = cut(layers, window, more=more)
            if window_dem not in self._by_dem:
                self._by_dem[window_dem] = WindowMatcher(window_dem, inner=self.inner)
            self._by_key[key] = self._by_dem[window_dem]
        return self._by_key[key]
