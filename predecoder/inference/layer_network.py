"""A network in C++, on experiments of one patch that come layer by layer.

Shape legend: T layers, (I, J) the ancilla grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import _qecpipe
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.native_engine import native_network, native_tables
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["LayerNetwork", "Repeats"]


@dataclass(frozen=True)
class Repeats:
    """How experiments look that have more layers than any that is described.

    Attributes:
        first, period: from layer `first` on, `period` layers repeat; with a period of 0, none do.
        tail: the last layers, counted to an even number, are those of a described experiment.
        ahead: layers that a stream must see, beside those that the network waits for, before it knows a layer
            for one that repeats.
    """

    first: int = 0
    period: int = 0
    tail: int = 0
    ahead: int = 0


class LayerNetwork:
    """A network whose layers of logits follow its layers of detections: `begin` yields streams.

    Logits are those that `NativeEngine` gives for the whole experiment, in the same bits, and every layer is
    computed once.

    Attributes:
        network, timeline: for streams in C++ (`native/network/engine.h`).
        precision: float32 or int8.
    """

    def __init__(
        self,
        network: Network,
        experiments: Mapping[int, LayerInputs],
        *,
        repeats: Repeats,
        precision: Literal["float32", "int8"],
        instruction_set: str = "",
    ) -> None:
        """Copy the weights.

        Args:
            experiments: by their number of layers with detectors; the longest one holds all kinds of layers
                that longer ones have.
            instruction_set: one of `_qecpipe.instruction_sets()`; by default the best one here.

        Raises:
            QuantizationError: int8 cannot hold this network; also a ValueError.
            ValueError: the engine does not run the network, the experiments do not fit `repeats`, or there is
                no such instruction set.
        """
        lengths = sorted(experiments)
        tables = native_tables(network, [experiments[n] for n in lengths], precision=precision)
        self.precision: Precision = precision
        self.network = native_network(tables, instruction_set=instruction_set)
        self.timeline = _qecpipe.Timeline(
            dict(zip(lengths, tables.timelines, strict=True)),
            repeats_from=repeats.first,
            period=repeats.period,
            tail=repeats.tail,
            ahead=repeats.ahead,
        )

    @property
    def delay(self) -> int:
        """Layers that come after a layer, at most, before its logits."""
        return self.begin().delay

    def begin(self) -> _qecpipe.LayerStream:
        """Return memory for one experiment at a time, at its first layer."""
        return _qecpipe.LayerStream(self.network, self.timeline)
