"""Windowed decoding as a `sinter.Decoder`: all shots of a window in one call.

Shape legend: S shots, N detectors of the experiment, W detectors of a window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import sinter

from global_decoders.compiling import NormalFormDecoder
from global_decoders.packed_shots import checked_packed
from global_decoders.windows.graphs import WindowGraphs
from global_decoders.windows.layers import LayeredDem
from global_decoders.windows.matcher import WindowMatcher
from global_decoders.windows.plan import Mode, Window, assert_committed_once, check_sizes, windows_of
from qec import NormalForm

__all__ = ["CompiledWindows", "WindowedDecoder", "check_span"]

_CHUNK_BYTES = 1 << 23
"""Unpacked detections that are worked on at once: a few windows of them stay in the cache."""


@dataclass(frozen=True)
class WindowedDecoder(NormalFormDecoder):
    """Decodes any DEM with detector times in windows that commit `commit` layers each.

    Behind a network as any decoder: `PredecodedDecoder(WindowedDecoder(...))`, which a stream equals.

    Args:
        inner: 'pymatching' or 'pymatching-correlated'.
        commit: detector layers (rounds) that a window commits.
        buffer: layers of look-ahead; in parallel mode also of look-back, at least 1.
        mode: 'sliding', each window after the one before it; or 'parallel', independent windows
            every `commit + 2 * buffer` layers and then those between them.

    Raises:
        ValueError: unknown `inner` or `mode`, or a size that is too small.
    """

    inner: str = "pymatching"
    commit: int = 5
    buffer: int = 5
    mode: Mode = "sliding"

    def __post_init__(self) -> None:
        check_sizes(commit=self.commit, buffer=self.buffer, mode=self.mode)
        WindowGraphs(inner=self.inner)

    @property
    def independent_edges(self) -> bool:
        """Whether edges count as independent, as in `PyMatchingDecoder`."""
        return self.inner == "pymatching"

    def compile_normal_form(self, normal: NormalForm) -> CompiledWindows:
        """Cuts the windows and builds their graphs, warm; every component is owned exactly once.

        Raises:
            ValueError: a detector has no coordinates, a mechanism is not decomposed into edges, or
                a component spans more rounds than a window commits.
        """
        layers = LayeredDem.from_dem(normal.exact_dem, correlated=not self.independent_edges)
        windows = [*windows_of(layers.num_layers, commit=self.commit, buffer=self.buffer, mode=self.mode)]
        check_span(layers, buffer=self.buffer, mode=self.mode)
        assert_committed_once(layers.footprints(), windows)
        return CompiledWindows(layers=layers, windows=windows, graphs=WindowGraphs(inner=self.inner))


def check_span(layers: LayeredDem, *, buffer: int, mode: Mode) -> None:
    """Raises ValueError where parallel windows would see each other's seams."""
    if mode == "parallel" and buffer < layers.span:
        raise ValueError(
            f"buffer={buffer} rounds, but a component of this DEM spans {layers.span} rounds, so parallel "
            f"windows would touch each other; use buffer={layers.span} or more"
        )


@dataclass(frozen=True, eq=False)
class _Step:
    """Windows with one graph that do not depend on each other: detectors they read and flip."""

    matcher: WindowMatcher
    inputs: slice | np.ndarray
    artificial_defects: list[slice | np.ndarray]


class CompiledWindows(sinter.CompiledDecoder):
    """Windows of one experiment with their matchers."""

    def __init__(self, *, layers: LayeredDem, windows: list[Window], graphs: WindowGraphs) -> None:
        self.windows = windows
        self.graphs = graphs
        self.num_observables = layers.num_observables
        order = layers.detector_order()
        self.num_detectors = len(order)
        self._order = None if np.array_equal(order, np.arange(len(order))) else order
        self._steps = list(_steps(layers, windows, graphs))

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        """uint8 (S, ceil(N/8)) -> uint8 (S, ceil(num_observables/8)), little-endian bits.

        Raises:
            ValueError: shots of another shape, or a syndrome that no set of edges explains.
        """
        packed = checked_packed(bit_packed_detection_event_data, num_detectors=self.num_detectors)
        flips = np.zeros((len(packed), self.num_observables), dtype=np.uint8)
        chunk = max(1, _CHUNK_BYTES // max(1, self.num_detectors))
        for first in range(0, len(packed), chunk):
            rows = slice(first, first + chunk)
            bits = np.unpackbits(packed[rows], axis=1, bitorder="little", count=self.num_detectors)
            flips[rows] = self._decode(bits if self._order is None else bits[:, self._order])
        return np.packbits(flips, axis=1, bitorder="little")

    def _decode(self, bits: np.ndarray) -> np.ndarray:
        """uint8 0/1 (S, N) in order of layers, overwritten -> uint8 0/1 (S, num_observables)."""
        shots = len(bits)
        flips = np.zeros((shots, self.num_observables), dtype=np.uint8)
        for step in self._steps:
            width = len(step.matcher.places.inputs)
            # take() lays shots out in rows; a fancy index would not, and the reshape copy again.
            inputs = step.inputs
            read = bits.take(inputs, axis=1) if isinstance(inputs, np.ndarray) else bits[:, inputs]
            found = step.matcher.decode(read.reshape(-1, width)).reshape(
                shots, len(step.artificial_defects), -1
            )
            flips ^= np.bitwise_xor.reduce(found[:, :, : self.num_observables], axis=1)
            for k, artificial_defects in enumerate(step.artificial_defects):
                bits[:, artificial_defects] ^= found[:, k, self.num_observables :]
        return flips


def _steps(layers: LayeredDem, windows: list[Window], graphs: WindowGraphs) -> Iterator[_Step]:
    """In the order in which they can run: independent windows of equal DEM together."""
    sizes = [len(layers.kind(t).sites) for t in range(layers.num_layers)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    site_index = [{site: k for k, site in enumerate(kind.sites)} for kind in layers.kinds]

    def inputs(window: Window) -> np.ndarray:
        return np.arange(starts[window.start], starts[window.stop])

    def artificial_defects(window: Window, matcher: WindowMatcher) -> np.ndarray:
        places = ((window.start + t, site) for t, site in matcher.places.artificial_defects)
        found = [starts[t] + site_index[layers.kind_id(t)][site] for t, site in places]
        return np.array(found, dtype=np.int64)

    for group in _independent(windows):
        together: dict[int, list[Window]] = {}
        matchers = {}
        for window in group:
            matcher = graphs.matcher(layers, window)
            matchers[id(matcher)] = matcher
            together.setdefault(id(matcher), []).append(window)
        for key, members in together.items():
            yield _Step(
                matcher=matchers[key],
                inputs=_as_slice(np.concatenate([inputs(w) for w in members])),
                artificial_defects=[_as_slice(artificial_defects(w, matchers[key])) for w in members],
            )


def _independent(windows: list[Window]) -> Iterator[list[Window]]:
    """Parallel plans: the A windows, then the B windows. Sliding plans: one window at a time."""
    if any(window.after_neighbours for window in windows):
        ordered = sorted(windows, key=lambda window: window.after_neighbours)
        for _, group in itertools.groupby(ordered, key=lambda window: window.after_neighbours):
            yield list(group)
    else:
        yield from ([window] for window in windows)


def _as_slice(indices: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are consecutive: numpy then copies nothing."""
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices
