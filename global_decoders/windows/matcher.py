"""Matching graphs of windows, each built once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pymatching
import stim

from global_decoders.adapters.pymatching import CompiledPyMatching
from global_decoders.windows.cut import WindowDem, WindowPlaces
from global_decoders.windows.graph import INNER_DECODERS, WindowGraph
from global_decoders.windows.syndrome_cache import MOST_BYTES, SyndromeCache

__all__ = ["WindowMatcher"]

_BYTES_PER_EDGE = {False: 640, True: 2000}
"""Of a warm graph, plain and correlated, with all that belongs to it: the most of d = 3 to 13, measured."""


class WindowMatcher:
    """PyMatching on one window's graph, warm.

    PyMatching predicts one bit per fault id, in any of its modes; a window's fault ids are the
    observables and the artificial defects of what it commits, so a prediction is all that is handed on.
    Up to 64 fault ids it never has to trace a path back.

    Args:
        matching: its graph, built with correlations where they are used.
        places: what it reads and hands on.
        graph: the same as data, if it is at hand.
        cached: whether answers are kept, for batches: of no use to a window that hardly comes again.
    """

    def __init__(
        self,
        matching: pymatching.Matching,
        places: WindowPlaces,
        *,
        correlated: bool,
        graph: WindowGraph | None = None,
        cached: bool = True,
    ) -> None:
        self.places = places
        self.input_index = {place: k for k, place in enumerate(places.inputs)}
        self._graph = graph
        self._certain = bool(places.certain_inputs or places.certain_flips)
        self._certain_inputs = _ones(places.certain_inputs, len(places.inputs))
        self._certain_flips = _ones(places.certain_flips, places.num_fault_ids)
        self._compiled = CompiledPyMatching(
            matching=matching, correlated=correlated, num_detectors=len(places.inputs)
        )
        # Not a method: a matcher that is let go of must be free at once, graph and all.
        self._decode = functools.partial(_decode, self._compiled, places.num_fault_ids)
        size = -(-len(places.inputs) // 8)
        self._trivial = self._decode(np.zeros((1, size), dtype=np.uint8))  # warms the graph
        fits = cached and 0 < size <= MOST_BYTES
        self._cache = SyndromeCache(self._decode, size=size) if fits else None

    @classmethod
    def of_dem(cls, dem: WindowDem, *, inner: str) -> WindowMatcher:
        """The matcher of a window's error model."""
        correlated = INNER_DECODERS[inner]
        # Not through the adapter: it checks every mechanism, as LayeredDem did once for all windows.
        matching = pymatching.Matching.from_detector_error_model(
            stim.DetectorErrorModel(dem.text), enable_correlations=correlated
        )
        matching.ensure_num_fault_ids(dem.num_fault_ids)
        graph = WindowGraph.of_dem(dem) if correlated else None
        return cls(matching, dem.places, correlated=correlated, graph=graph)

    @classmethod
    def of_graph(
        cls, graph: WindowGraph, *, throttle: Callable[[], None] = lambda: None, cached: bool = True
    ) -> WindowMatcher:
        """The matcher of a graph; equal to the one that the graph is of. See `WindowGraph.build`."""
        matching = graph.build(throttle)
        throttle()
        correlated = graph.text is not None
        return cls(matching, graph.places, correlated=correlated, graph=graph, cached=cached)

    @cached_property
    def graph(self) -> WindowGraph:
        """The graph as data."""
        if self._graph is not None:
            return self._graph
        return WindowGraph.of_matching(self._compiled.matching, self.places)

    @property
    def certain_inputs(self) -> np.ndarray:
        """uint8 0/1 (inputs,): detections of what always happens."""
        return self._certain_inputs

    @property
    def num_bytes(self) -> int:
        """Memory that it takes, rather too much than too little."""
        table = 0 if self._cache is None else self._cache.num_bytes
        return self._compiled.matching.num_edges * _BYTES_PER_EDGE[self._compiled.correlated] + table

    def decode(self, detections: np.ndarray) -> np.ndarray:
        """uint8 0/1 (S, inputs) -> uint8 0/1 (S, observables + artificial defects), in the DEM's order.

        Raises:
            ValueError: a syndrome that no set of edges explains.
        """
        if not self._certain:
            return self._decode_uncertain(detections)
        return self._decode_uncertain(detections ^ self._certain_inputs) ^ self._certain_flips

    def _decode_uncertain(self, detections: np.ndarray) -> np.ndarray:
        """As `decode`, of detections without those of what always happens."""
        packed = np.packbits(detections, axis=1, bitorder="little")
        if len(packed) == 1:  # a stream's: looking an answer up takes longer than to match so little
            return self._decode(packed)
        if self._cache is not None:
            return self._cache(packed)
        busy = packed.any(axis=1)
        if busy.all():
            return self._decode(packed)
        flips = np.repeat(self._trivial, len(packed), axis=0)
        if busy.any():
            flips[busy] = self._decode(packed[busy])
        return flips


def _ones(where: tuple[int, ...], size: int) -> np.ndarray:
    """uint8 0/1 (size,)."""
    found = np.zeros(size, dtype=np.uint8)
    found[list(where)] = 1
    return found


def _decode(compiled: CompiledPyMatching, num_fault_ids: int, packed: np.ndarray) -> np.ndarray:
    predictions = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    return np.unpackbits(predictions, axis=1, bitorder="little", count=num_fault_ids)
