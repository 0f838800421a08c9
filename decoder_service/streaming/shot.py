"""The state of one shot between two rounds: bounded, whatever its length."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from decoder_service.streaming.commits import Flag
from global_decoders.windows import Component, LayeredDem, Syndrome, Window, WindowMatcher, WindowStep

if TYPE_CHECKING:
    from predecoder import ResidualStream

__all__ = ["Edges", "ShotState", "seen_by"]

Edges = tuple[tuple[int, Component], ...]
"""Components, each with its layer."""


def seen_by(window: Window, edges: Edges) -> Edges:
    """Those that a window neither drops nor deletes."""

    def seen(layer: int, component: Component) -> bool:
        touched = [layer + offset for offset, _ in component.detectors]
        return not window.drops(touched) and any(window.start <= t < window.stop for t in touched)

    return tuple((layer, mechanism) for layer, mechanism in edges if seen(layer, mechanism))


@dataclass(eq=False)
class ShotState:
    """Layers that some window still reads, and what was committed.

    Attributes:
        shot: its number.
        windows: of a shot whose end is not known, in decoding order.
        num_observables: of the experiment.
        certain_observables: flipped from the beginning; see `LayeredDem`.
        stream: the pre-decoder's part of the shot, or None.
        pushed: rounds that arrived, 0 to pushed - 1.
        received: layers that windows can read: those that arrived, or that the pre-decoder is done with.
        upto: layers [0, upto) are committed.
        flags: so far.
        recent: measurements of the last rounds, newest last.
        erased: edges of erased rounds that some window may still read, by round.
        frame: uint8 0/1 (num_observables,).
        window: the next to decode.
    """

    shot: int
    windows: Iterator[Window]
    num_observables: int
    certain_observables: tuple[int, ...] = ()
    stream: ResidualStream | None = None
    pushed: int = 0
    received: int = 0
    upto: int = 0
    flags: Flag = Flag.NONE
    recent: list[np.ndarray] = field(default_factory=list)
    erased: dict[int, Edges] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.frame = np.zeros(self.num_observables, dtype=np.uint8)
        self.frame[list(self.certain_observables)] = 1
        self.window = next(self.windows)
        self._syndrome = Syndrome.empty(1)
        self._flips: dict[int, np.ndarray] = {}
        self._certain: dict[int, np.ndarray] = {}
        """By layer, detections of what always happens, which the pre-decoder does not see."""
        self._decoded = 0
        self._ahead = 0

    def add_layer(
        self, detections: np.ndarray, cells: np.ndarray | None, layers: LayeredDem, *, final: bool
    ) -> None:
        """The next layer arrives.

        Args:
            detections: uint8 0/1 (detectors,).
            cells: where a pre-decoder's grid has them; None without one.
            layers: of the experiment, as far as it is known.
            final: it is the last layer.
        """
        layer, self.pushed = self.pushed, self.pushed + 1
        if self.stream is None:
            self._receive(detections, layers)
            return
        assert cells is not None
        certain = self._certain[layer] = layers.certain_flips(layer)
        for done in (self.stream.end if final else self.stream.add)(detections ^ certain, cells):
            self._flips[self.received] = done.flips
            # Windows are given what always happens, too: each model has its own.
            self._receive(done.bits ^ self._certain.pop(self.received), layers)

    def replan(self, windows: Iterator[Window]) -> None:
        """The windows are these from now on; those decoded already come first among them."""
        self.windows = itertools.islice(windows, self._decoded, None)
        self.window = next(self.windows)

    def edges_in(self, window: Window) -> Edges:
        """What erased rounds add to a window."""
        return tuple(edge for edges in self.erased.values() for edge in seen_by(window, edges))

    def decode(self, matcher: WindowMatcher) -> None:
        """Decodes `window`: corrects the frame and hands its artificial defects on."""
        columns = self._syndrome.columns.of(self.window, matcher.places)
        self.frame ^= self._syndrome.commit(WindowStep.of(matcher, [columns]))[0]

    def advance(self) -> bool:
        """On to the next window; whether what is committed now is contiguous, and more than before."""
        window = self.window
        self._decoded += 1
        self._ahead = max(self._ahead, window.hi)
        contiguous = window.lo == self.upto
        if contiguous:
            for layer in range(self.upto, self._ahead):
                if layer in self._flips:
                    self.frame ^= self._flips.pop(layer)
            self.upto = self._ahead
            self._syndrome.forget(self.upto)
            self.erased = {
                r: edges for r, edges in self.erased.items() if any(t >= self.upto for t, _ in edges)
            }
        self.window = next(self.windows, window)
        return contiguous

    def _receive(self, bits: np.ndarray, layers: LayeredDem) -> None:
        self._syndrome.add(bits[None], layers.kind(self.received))
        self.received += 1

    def packed_frame(self) -> bytes:
        """ceil(num_observables / 8) bytes, LSB first."""
        return np.packbits(self.frame, bitorder="little").tobytes()
