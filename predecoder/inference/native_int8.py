"""Binding of `integer_network.cpp`: a quantized network in int8, sixteen shots side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from predecoder.inference.native_volumes import NativeVolumes, struct_of
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    from predecoder.inference.quantized_tables import QuantizedTables

__all__ = ["NativeQuantizedNetwork"]

_Struct = struct_of(
    *(
        "embed",
        "first_layer_bias",
        "depthwise",
        "position_bias",
        "gain",
        "pointwise",
        "pointwise_gain",
        "pointwise_bias",
    ),
    *("head", "head_scale", "head_bias"),
)


class NativeQuantizedNetwork(NativeVolumes):
    """Logits of a quantized network, rounded, at half the time of float32 or less: same tables, same bits."""

    lanes = 16
    precision: Precision = "int8"

    def __init__(self, tables: QuantizedTables) -> None:
        """Keeps the tables.

        Raises:
            NativeUnavailableError: see `load_library`.
        """
        super().__init__(
            *("integer_network", _Struct, tables.arrays, tables.layout, tables.moves),
            channels=tables.channels,
            reach=tables.reach,
        )
