"""A quantized network in int8, sixteen shots side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import _qecpipe
from predecoder.inference.native_volumes import NativeVolumes
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    from predecoder.inference.quantized_tables import QuantizedTables

__all__ = ["NativeQuantizedNetwork"]


class NativeQuantizedNetwork(NativeVolumes):
    """Logits of a quantized network, rounded, at half the time of float32 or less: same tables, same bits."""

    lanes = 16
    precision: Precision = "int8"

    def __init__(self, tables: QuantizedTables, *, instruction_set: str = "") -> None:
        """Copy the tables.

        Args:
            instruction_set: one of `_qecpipe.instruction_sets()`; by default the best one here.

        Raises:
            ValueError: there is no such instruction set here.
        """
        super().__init__(
            *(_qecpipe.Int8Batch, tables.arrays, tables.layout, tables.moves),
            channels=tables.channels,
            reach=tables.reach,
            instruction_set=instruction_set,
        )
