"""Where a window commits its flips and hands its artificial defects on: for batches and streams alike.

What a window's committed edges flip are observables and, where such an edge reaches past the commit region,
detectors there: artificial defects. They are added to the detections that later windows read. A batch is a
stream of many shots whose layers are all there from the beginning.

Shape legend: S shots, C columns (the detectors of consecutive layers, layer by layer), O observables,
D artificial defects of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from global_decoders.windows.cut import Place, WindowPlaces
from global_decoders.windows.layers import LayeredDem, LayerKind
from global_decoders.windows.matcher import WindowMatcher
from global_decoders.windows.plan import Window

__all__ = ["LayerColumns", "Syndrome", "WindowColumns", "WindowStep"]


@dataclass(frozen=True, eq=False)
class WindowColumns:
    """Columns of detectors that a window reads, and of those that it hands artificial defects on to.

    Attributes:
        inputs: of the detectors that it reads.
        artificial_defects: of its artificial defects, but for those of `later`.
        later: artificial defects in layers that have no columns yet: number, and (layer, site).
    """

    inputs: slice
    artificial_defects: slice | np.ndarray
    later: tuple[tuple[int, Place], ...]


class LayerColumns:
    """Map of detectors to columns: those of layers [first, stop), one layer after the other."""

    def __init__(self) -> None:
        self.first = self.stop = 0
        self._starts = [0]
        self._kinds: list[LayerKind] = []

    @classmethod
    def of_layers(cls, layers: LayeredDem) -> LayerColumns:
        """Return the columns of a whole experiment."""
        columns = cls()
        for layer in range(layers.num_layers):
            columns.add(layers.kind(layer))
        return columns

    def add(self, kind: LayerKind) -> None:
        """Add the columns of the next layer, which is of this kind."""
        self._kinds.append(kind)
        self._starts.append(self._starts[-1] + len(kind.sites))
        self.stop += 1

    def drop(self, before: int) -> int:
        """Drops the layers before this one; returns how many columns they had."""
        layers = max(0, before - self.first)
        dropped = self._starts[layers]
        self._starts = [start - dropped for start in self._starts[layers:]]
        del self._kinds[:layers]
        self.first += layers
        return dropped

    def of(self, window: Window, places: WindowPlaces) -> WindowColumns:
        """Return the columns of a window whose layers are here."""
        defects = [(window.start + layer, site) for layer, site in places.artificial_defects]
        here = [self.column(place) for place in defects if place[0] < self.stop]
        later = tuple((k, place) for k, place in enumerate(defects) if place[0] >= self.stop)
        inputs = slice(self._starts[window.start - self.first], self._starts[window.stop - self.first])
        return WindowColumns(inputs, _as_slice(np.array(here, dtype=np.int64)), later)

    def column(self, place: Place) -> int:
        """Return the column of the detector at (layer, site)."""
        layer = place[0] - self.first
        return self._starts[layer] + self._kinds[layer].index_of[place[1]]


@dataclass(frozen=True, eq=False)
class WindowStep:
    """Windows of one graph that do not depend on each other: their matcher, what they read and flip.

    Attributes:
        matcher: of each of them.
        inputs: columns that they read, window by window.
        columns: of each window.
    """

    matcher: WindowMatcher
    inputs: slice | np.ndarray
    columns: tuple[WindowColumns, ...]

    @classmethod
    def of(cls, matcher: WindowMatcher, columns: Sequence[WindowColumns]) -> WindowStep:
        """The step of these windows."""
        inputs = columns[0].inputs
        if len(columns) > 1:
            inputs = _as_slice(np.concatenate([np.arange(c.inputs.start, c.inputs.stop) for c in columns]))
        return cls(matcher, inputs, tuple(columns))


class Syndrome:
    """The detections of some shots that windows read: what was measured, and artificial defects.

    Args:
        bits: uint8 0/1 (S, C), overwritten.
        columns: what its columns are.
    """

    def __init__(self, bits: np.ndarray, columns: LayerColumns) -> None:
        self.bits = bits
        self.columns = columns
        self._later: dict[Place, np.ndarray] = {}
        """uint8 0/1 (S,): artificial defects in layers that are still to come."""

    @classmethod
    def empty(cls, num_shots: int) -> Syndrome:
        """Shots whose layers are still to come."""
        return cls(np.zeros((num_shots, 0), dtype=np.uint8), LayerColumns())

    def add(self, detections: np.ndarray, kind: LayerKind) -> None:
        """The next layer arrives: uint8 0/1 (S, detectors of the layer)."""
        layer = self.columns.stop
        self.columns.add(kind)
        self.bits = np.concatenate([self.bits, detections], axis=1)
        for place in [place for place in self._later if place[0] == layer]:
            self.bits[:, self.columns.column(place)] ^= self._later.pop(place)

    def commit(self, step: WindowStep) -> np.ndarray:
        """Decodes windows and hands their artificial defects on; returns their flips, uint8 0/1 (S, O).

        Raises:
            ValueError: a syndrome that no set of edges explains.
        """
        shots, bits = len(self.bits), self.bits
        places = step.matcher.places
        # take() lays shots out in rows; a fancy index would not, and the reshape copy again.
        read = bits[:, step.inputs] if isinstance(step.inputs, slice) else bits.take(step.inputs, axis=1)
        flips = step.matcher.decode(read.reshape(-1, len(places.inputs)))
        flips = flips.reshape(shots, len(step.columns), places.num_fault_ids)
        for k, columns in enumerate(step.columns):
            defects = flips[:, k, places.num_observables :]
            for number, place in columns.later:
                self._later[place] = self._later.get(place, 0) ^ defects[:, number]
            if columns.later:
                defects = np.delete(defects, [number for number, _ in columns.later], axis=1)
            bits[:, columns.artificial_defects] ^= defects
        return np.bitwise_xor.reduce(flips[:, :, : places.num_observables], axis=1)

    def forget(self, before: int) -> None:
        """Drops the layers before this one: no window reads them any more."""
        self.bits = self.bits[:, self.columns.drop(before) :]


def _as_slice(indices: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are consecutive: numpy then copies nothing."""
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices
