"""Tables of a quantized network: everything that its int8 engine reads.

Shape legend: C channels, o channels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from predecoder.inference.exact_tables import exact_first_layer_bias, exact_position_bias
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.network_tables import float_weights, timelines
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    from predecoder.network import Network, QuantizedSeparableNetwork

__all__ = ["CHUNK", "QuantizationError", "QuantizedTables"]

CHUNK = 32
"""Inputs of a pointwise convolution whose products are added up in 16 bits without saturation."""
_HIDDEN, _WEIGHT = 127, 127
"""The largest hidden activation, and weight of a pointwise convolution."""
_STREAM = 28_000
"""Integer, of at most 32,767, that the end of the stream's calibrated range becomes."""
_WHOLE = 32_700
"""Sum of a stencil's absolute weights, of the 32,768 that divide their products: 27 roundings fit above."""
_CHUNK_SUM = 32_767 // _HIDDEN
"""Bound on the weights of either sign of a chunk of a pointwise convolution's inputs."""
_HEAD_SUM, _HEAD_BIAS = 65_000, 10_000_000
"""Bounds on an output's absolute weights and bias: their sum fits 32 bits, with 256 channels rounded."""
_MOST_PASSES = 20
"""Passes in search of scales; a few are enough where there are any."""


class QuantizationError(ValueError):
    """The integers of int8 cannot hold a network; the message says why, and what to use instead."""


class QuantizedTables:
    """A quantized network, scaled to its calibrated ranges, on the layers of some experiments.

    They are alike on every machine. Scales are those of the last experiment's layers.

    Attributes:
        arrays: the tables by name, as `QuantizedTables` of `native/network/tables.h` has them.
        timelines: of every experiment, int32 `(T, 2)`: the kinds of each layer's biases.
    """

    precision: Precision = "int8"

    def __init__(self, network: Network, experiments: Sequence[LayerInputs]) -> None:
        """Copy the weights.

        Raises:
            QuantizationError: int8 cannot hold the network.
            ValueError: the network is not of the quantized family.
        """
        if not network.config.quantized:
            raise ValueError(
                f"int8 engines run networks of the family 'quantized-separable', not {network.config}"
            )
        quantized = cast("QuantizedSeparableNetwork", network)
        position, position_kinds = exact_position_bias(quantized, experiments)
        first, first_kinds = exact_first_layer_bias(quantized, experiments)
        tables = float_weights(quantized) | {"first_layer_bias": first, "position_bias": position}
        scales = _Scales.of(tables, quantized, kinds=np.unique(position_kinds.of[-1]))
        self.arrays = _integer_tables(tables, scales)
        self.timelines = timelines(first_kinds, position_kinds)


@dataclass(frozen=True)
class _Scales:
    """What one unit of an integer stands for.

    Attributes:
        stream: float64 `(C,)`.
        hidden: float64 `(blocks, C)`.
        depthwise: float64 `(blocks, C)`: sums of absolute weights, or more where a position bias needs it.
        pointwise: float64 `(blocks, o)`: of a sum of products, which has the units of the stream.
    """

    stream: np.ndarray
    hidden: np.ndarray
    depthwise: np.ndarray
    pointwise: np.ndarray

    @classmethod
    def of(
        cls, tables: dict[str, np.ndarray], network: QuantizedSeparableNetwork, *, kinds: np.ndarray
    ) -> _Scales:
        """The finest scales that hold the calibrated ranges and keep every factor below one, but for 0.2 %.

        Args:
            kinds: of layers whose position biases they hold.

        Raises:
            QuantizationError: there are none.
        """
        stream_range, hidden_range = (
            getattr(network, name).detach().cpu().numpy().astype(np.float64)
            for name in ("stream_range", "hidden_range")
        )
        if not stream_range.any() and any(table.any() for table in tables.values()):
            raise QuantizationError(
                "the network was never calibrated for int8: its ranges are 0; train it to the end, or use "
                "precision 'float32'"
            )
        tiny = np.finfo(np.float32).tiny
        stream = np.maximum(stream_range, tiny) / _STREAM
        hidden = np.maximum(hidden_range, tiny) / _HIDDEN
        absolute = np.abs(tables["depthwise"]).sum(axis=2).astype(np.float64)
        largest_bias = np.abs(tables["position_bias"][:, kinds]).max(axis=(1, 2, 3))
        for _ in range(_MOST_PASSES):
            stencil = np.maximum(np.maximum(absolute, tiny), largest_bias / (stream * _STREAM))
            wanted_hidden = np.maximum(hidden, 1.0001 * stream * stencil)
            pointwise = _pointwise_scale(tables["pointwise"] * wanted_hidden[:, None, :])
            wanted_stream = np.maximum(stream, 1.0001 * pointwise.max(axis=0))
            if np.array_equal(wanted_hidden, hidden) and np.array_equal(wanted_stream, stream):
                return cls(stream, hidden, stencil, pointwise)
            hidden, stream = wanted_hidden, wanted_stream
        raise QuantizationError(
            "the network's weights are too large, or no numbers, for int8; use precision 'float32'"
        )


def _pointwise_scale(weights: np.ndarray) -> np.ndarray:
    """Units `(blocks, o)` in which float64 weights `(blocks, o, C)` fit 8 bits and their chunks' sums 16."""
    scale = np.maximum(np.abs(weights).max(axis=2), np.finfo(np.float32).tiny) / _WEIGHT
    scale = np.maximum(scale, _largest_sum(weights) / _CHUNK_SUM)
    while True:  # what rounding adds to the sums
        over = _largest_sum(np.rint(weights / scale[:, :, None])) > _CHUNK_SUM
        if not over.any():
            return scale
        scale = np.where(over, 1.01 * scale, scale)


def _largest_sum(weights: np.ndarray) -> np.ndarray:
    """Of the weights of either sign in any chunk of an output's inputs: `(blocks, o)`."""
    starts = np.arange(0, weights.shape[2], CHUNK)
    signs = (np.maximum(weights, 0), np.maximum(-weights, 0))
    return np.maximum(*(np.add.reduceat(part, starts, axis=2).max(axis=2) for part in signs))


def _integer_tables(tables: dict[str, np.ndarray], scales: _Scales) -> dict[str, np.ndarray]:
    """Tables of integers."""
    stencil_unit = scales.stream * scales.depthwise * (2**15 / _WHOLE)
    head = tables["head"] * scales.stream
    absolute = np.abs(head)
    bounds = (
        absolute.max(axis=1) / 32_767,
        absolute.sum(axis=1) / _HEAD_SUM,
        np.abs(tables["head_bias"]) / _HEAD_BIAS,
    )
    head_scale = np.maximum(np.max(bounds, axis=0), np.finfo(np.float32).tiny)
    pointwise = np.rint(tables["pointwise"] * scales.hidden[:, None, :] / scales.pointwise[:, :, None])
    return {
        "embed": _rounded(tables["embed"] / scales.stream),
        "first_layer_bias": _rounded(tables["first_layer_bias"] / scales.stream),
        "depthwise": _rounded(tables["depthwise"] / scales.depthwise[:, :, None] * _WHOLE),
        "position_bias": _rounded(tables["position_bias"] / stencil_unit[:, None, None, None, :]),
        "gain": _rounded(stencil_unit / scales.hidden * 2**15),
        "pointwise": pointwise.astype(np.int8),
        "pointwise_gain": _rounded(scales.pointwise / scales.stream * 2**15),
        "pointwise_bias": _rounded(tables["pointwise_bias"] / scales.stream),
        "head": _rounded(head / head_scale[:, None]),
        "head_scale": head_scale.astype(np.float32),
        "head_bias": np.rint(tables["head_bias"] / head_scale).astype(np.int32),
    }


def _rounded(values: np.ndarray) -> np.ndarray:
    """The nearest int16."""
    return np.clip(np.rint(values), -32_767, 32_767).astype(np.int16)
