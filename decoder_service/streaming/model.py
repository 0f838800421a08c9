"""A detector error model as a stream uses it: windows of an experiment whose end is not known yet."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import stim

from _qecpipe import StreamModel as NativeModel
from decoder_service.streaming.predecoder_stage import PredecoderStage
from global_decoders.windows import LayeredDem, Window, WindowGraphs, WindowSizes, check_windows
from predecoder import NEURAL_MATCHING

__all__ = ["StreamModel"]


@dataclass(frozen=True, eq=False)
class StreamModel:
    """Layers, graphs and identity of one DEM.

    Attributes:
        layers: as read; experiments may be longer where they repeat.
        sizes: of the windows.
        graphs: built so far, shared by all shots.
        id: the first 16 hex digits of the SHA-256 of the DEM's text and a network's weights.
        known_slack: `slack`, of a model whose layers are only a skeleton, or that has no error model.
        stage: the pre-decoder before the windows, with this DEM's noise features; None where there is none,
            or a stream keeps the one that it has.
    """

    layers: LayeredDem
    sizes: WindowSizes
    graphs: WindowGraphs
    id: str
    known_slack: int | None = None
    stage: PredecoderStage | None = None

    @classmethod
    def build(
        cls,
        dem: stim.DetectorErrorModel,
        *,
        layers: LayeredDem,
        sizes: WindowSizes,
        decoder: str,
        weights: str = "",
        stage: PredecoderStage | None = None,
    ) -> StreamModel:
        """A DEM whose layers are `layers`.

        Args:
            decoder: a name in `INNER_DECODERS`, or `NEURAL_MATCHING`.
            weights: hash of the pre-decoder's network, if there is one.
            stage: the pre-decoder, if it changes with the DEM.

        Raises:
            ValueError: a DEM or decoder that windows cannot use.
        """
        neural = stage if decoder == NEURAL_MATCHING else None
        method = "" if neural is None else decoder
        name = hashlib.sha256(f"{dem}{weights}{method}".encode()).hexdigest()[:16]
        graphs = WindowGraphs(inner=decoder) if neural is None else neural.graphs()
        model = cls(layers, sizes, graphs, name, known_slack=None if neural is None else 1, stage=stage)
        # Windows and layers repeat together, so one experiment of a few periods speaks for all.
        example = layers if not layers.cycle else layers.with_layers(model.long_enough())
        check_windows(example, sizes)
        return model

    @cached_property
    def native(self) -> NativeModel:
        """The model as streams use it: windows are looked up in `graphs`, which may still grow."""
        layers, sizes = self.layers, self.sizes
        return NativeModel(
            id=self.id,
            kinds=list(layers.source),
            cut=layers.cut,
            cycle=layers.cycle,
            reach=max(layers.reach, self.graphs.reach),
            ahead=self.graphs.ahead,
            commit=sizes.commit,
            buffer=sizes.buffer,
            parallel=sizes.mode == "parallel",
            slack=self.slack,
            certain_observables=list(layers.certain_observables),
            windows=self.graphs.native,
            front=None if self.stage is None else self.stage.predecoder.front,
        )

    @property
    def open_layers(self) -> LayeredDem:
        """The experiment while its end is not in sight."""
        return self.layers.endless

    def long_enough(self, *, extra: int = 0) -> int:
        """A number of layers in which every window of a long experiment occurs, and `extra` more periods."""
        layers, sizes = self.layers, self.sizes
        together = math.lcm(sizes.period, layers.cycle)
        wanted = 4 * sizes.period + 2 * sizes.buffer + (2 + extra) * together
        return len(layers.source) + -(-wanted // layers.cycle) * layers.cycle

    @cached_property
    def slack(self) -> int:
        """How many layers must follow a window's last before it is known to look like any other: >= 1.

        The last rounds of an experiment have other mechanisms than the bulk; mostly nothing of
        that is left once what lies beyond the window is deleted, and then this is 1.
        """
        if self.known_slack is not None:
            return self.known_slack
        if not self.layers.cycle:
            return 1
        layers = self.layers.with_layers(self.long_enough())
        tail = len(layers.source) - layers.cut + layers.reach
        slack = 1
        for distance in range(1, tail + 1):
            stop = layers.num_layers - distance
            window = self._bulk_window(stop)
            bulk = self.graphs.graph(self.open_layers, window)
            if self.graphs.graph(layers, window) is not bulk:
                slack = distance + 1
        return slack

    def layers_of(self, num_layers: int) -> LayeredDem:
        """The experiment of so many layers, or the one whose end is not in sight."""
        endless = self.open_layers
        return endless if num_layers == endless.num_layers else self.layers.with_layers(num_layers)

    def _bulk_window(self, stop: int) -> Window:
        hi = stop - self.sizes.buffer
        lo = hi - self.sizes.commit
        if self.sizes.mode == "sliding":
            return Window(start=lo, lo=lo, hi=hi, stop=stop)
        return Window(start=lo - self.sizes.buffer, lo=lo, hi=hi, stop=stop, past_closed=False)

    def bulk_windows(self, num_layers: int | None = None) -> list[Window]:
        """Windows of the beginning and of one full period of what repeats.

        Args:
            num_layers: of all shots, if they are known to have as many.
        """
        last = self.long_enough() if self.layers.cycle else self.layers.num_layers
        last = last if num_layers is None else min(last, num_layers)
        windows = itertools.takewhile(
            lambda w: w.stop <= last, self.sizes.windows(self.open_layers.num_layers)
        )
        return [w for w in windows if w.stop < self.open_layers.num_layers]

    def endings(self, num_layers: int | None = None) -> Iterator[tuple[LayeredDem, Window]]:
        """The windows that only the end of an experiment has, with the layers of one that ends so.

        Args:
            num_layers: of all shots; without it, those of long ones of every length modulo the period.
        """
        if num_layers is None:
            shortest = self.long_enough() if self.layers.cycle else self.layers.num_layers
            lengths = range(shortest, shortest + math.lcm(self.sizes.period, self.layers.cycle or 1))
        else:
            lengths = [self._as_short(num_layers)] if self.layers.cycle else []
        for length in lengths if self.layers.cycle else [self.layers.num_layers]:
            if self.layers.can_have(length):
                layers = self.layers.with_layers(length)
                for window in self.sizes.windows(length):
                    if window.stop + self.slack + self.graphs.ahead > length:
                        yield layers, window

    def has_classes(self, num_layers: int) -> bool:
        """Whether the last window of shots of so many layers has a gap."""
        *_, (layers, window) = self.endings(num_layers)
        return self.graphs.decoder(layers, window).has_classes

    def warm(self, num_layers: int | None = None) -> None:
        """Builds the graphs of all windows; see `endings`."""
        for window in self.bulk_windows(num_layers):
            self.graphs.graph(self.open_layers, window)
        for layers, window in self.endings(num_layers):
            self.graphs.graph(layers, window)

    def _as_short(self, num_layers: int) -> int:
        """The length of a short experiment that ends as one of `num_layers` does."""
        shortest = self.long_enough()
        if num_layers <= shortest:
            return num_layers
        return shortest + (num_layers - shortest) % math.lcm(self.sizes.period, self.layers.cycle)
