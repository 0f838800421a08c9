"""From what is pushed to detector layers, and what a lost round does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import stim

from decoder_service.streaming.rounds import RoundMap
from decoder_service.streaming.shot import Edges
from global_decoders.windows import Component, LayeredDem

__all__ = ["Input", "LayerSource", "checked_bits", "checked_input"]

Input = Literal["measurements", "detectors"]


@dataclass(frozen=True, eq=False)
class LayerSource:
    """What the rounds of a stream look like, however many it has.

    Attributes:
        layers: of the experiment as it was given.
        open_layers: of one whose end is not in sight.
        rounds: how detectors follow from measurements; None where detectors are pushed.
    """

    layers: LayeredDem
    open_layers: LayeredDem
    rounds: RoundMap | None

    def ending_with(self, last: int) -> LayeredDem:
        """The layers of an experiment whose last round this is.

        Raises:
            ValueError: it cannot end there.
        """
        layers = self.layers
        if layers.certain_observables and last + 1 != layers.num_layers:
            raise ValueError(
                f"the experiment cannot end with round {last}: errors above 1/2 flip observables "
                f"{list(layers.certain_observables)} and no detector, so they belong to no round, and only "
                f"the {layers.num_layers} rounds of the model that was read can be decoded"
            )
        try:
            return layers.with_layers(last + 1)
        except ValueError as error:
            raise ValueError(f"the experiment cannot end with round {last}: {error}") from None

    def width(self, round: int, layers: LayeredDem) -> int:
        """Bits of a round of an experiment of these layers."""
        if self.rounds is not None:
            return self.rounds.widths[layers.source_layer(round)[0]]
        return len(layers.kind(round).sites)

    def open_width(self, round: int) -> int:
        """Bits of a round that is not the last.

        Raises:
            ValueError: the experiment must have ended.
        """
        if round >= self.open_layers.num_layers - 1:
            raise ValueError(
                f"round {round} cannot be pushed: the experiment has {self.open_layers.num_layers} rounds "
                "and does not repeat, so its last one belongs to finish()"
            )
        return self.width(round, self.open_layers)

    def detections(
        self, round: int, bits: np.ndarray | None, recent: list[np.ndarray], *, layers: LayeredDem
    ) -> np.ndarray:
        """uint8 0/1 of the round's detector layer.

        Args:
            round: of `layers`.
            bits: as they were pushed and checked; None where they are lost.
            recent: the last rounds' bits, newest last, to which this round's are added.
            layers: of the experiment.
        """
        if bits is None:
            bits = np.zeros(self.width(round, layers), dtype=np.uint8)
            if self.rounds is not None and recent and recent[-1].shape == bits.shape:
                bits = recent[-1]
        if self.rounds is None:
            return bits
        recent.append(bits)
        del recent[: -self.rounds.depth - 1]
        return self.rounds.detections(layers.source_layer(round)[0], recent)

    def lost(self, round: int, *, layers: LayeredDem) -> Edges:
        """The edges of weight 0 that an erased round adds to an experiment of these layers."""
        if self.rounds is not None:
            edges = self.rounds.erasures[layers.source_layer(round)[0]]
            return tuple((round + offset, edge) for offset, edge in edges)
        sites = layers.kind(round).sites
        return tuple((round, Component(((0, site),), ())) for site in sites)

    def readout(self, final_bits: np.ndarray, frame: np.ndarray) -> bytes | None:
        """The observables as measured, corrected by uint8 0/1 `frame`; packed, LSB first."""
        if self.rounds is None:
            return None
        return np.packbits(self.rounds.readout(final_bits) ^ frame, bitorder="little").tobytes()


def checked_bits(bits: np.ndarray | None, *, round: int, width: int) -> np.ndarray:
    """uint8 0/1 (width,).

    Raises:
        ValueError: another shape, other values, or packed bits.
    """
    array = np.asarray(bits)
    if bits is None or array.shape != (width,):
        raise ValueError(
            f"round {round} has bits of shape {array.shape}; {width} are due, one number 0 or 1 each"
        )
    if array.dtype.kind not in "biu" or (width and (array.max() > 1 or array.min() < 0)):
        raise ValueError(
            f"round {round} has values {array.min()} to {array.max()} of {array.dtype}; "
            "bits are integers 0 or 1, not packed"
        )
    return array.astype(np.uint8)


def checked_input(input: Input | None, given: stim.Circuit | stim.DetectorErrorModel) -> Input:
    """'measurements' or 'detectors'; the first needs a circuit, whose default it is.

    Raises:
        ValueError: anything else.
    """
    is_circuit = isinstance(given, stim.Circuit)
    chosen: Input = input or ("measurements" if is_circuit else "detectors")
    if chosen not in ("measurements", "detectors") or (chosen == "measurements" and not is_circuit):
        raise ValueError(
            f"input={input!r} with a {type(given).__name__}: use 'detectors', "
            "or 'measurements' with a circuit"
        )
    return chosen
