"""Tables of a dense network for int8: everything that its engine reads (`native/network/tables.h`).

Activations have 16 bits, in units of powers of two that hold what calibration saw and a quarter more. A
block's 3 x 3 x 3 convolution, which is nearly all of the work, gets them in 8 bits, with a unit and a zero
for every channel.

Shape legend: C channels, o channels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predecoder.inference.exact_tables import exact_first_layer_bias
from predecoder.inference.layer_kinds import LayerInputs
from predecoder.inference.precision import Precision
from predecoder.inference.quantized_tables import QuantizationError
from predecoder.inference.table_layout import DETECTORS

if TYPE_CHECKING:
    import torch

    from predecoder.network import ActivationRanges, DenseNetwork

__all__ = ["DenseTables"]

_ROOM = 1.25
"""Times what calibration saw, that 16 bits hold."""
_BITS = (5, 11)
"""Least and most bits behind the point: GELU is exact to a unit with these."""
_WEIGHT, _STEPS = 127, 255
"""The largest weight of a 3 x 3 x 3 convolution, and input."""
_COARSER = 16.0
"""How much coarser than its range asks for an input's unit may be."""
_NEGLIGIBLE = 2.0**-7
"""What a hidden channel may change of the stream at most, to be taken for a constant."""
_SUM, _BIAS = 65_000, 10_000_000
"""Bounds on an output's absolute 16-bit weights, and bias: with inputs of 16 bits their sum fits 32."""
_LARGEST_BIAS = 1_000_000_000
"""Of a 3 x 3 x 3 convolution: with 1,024 channels its sums fit 32 bits."""


class DenseTables:
    """A dense network, scaled to its calibrated ranges, on the layers of some experiments.

    They are alike on every machine.

    Attributes:
        arrays: the tables by name, as `DenseTables` of `native/network/tables.h` has them.
        timelines: of every experiment, int32 `(T, 2)`: the kind of each layer's biases, and 0.
    """

    precision: Precision = "int8"

    def __init__(self, network: DenseNetwork, experiments: Sequence[LayerInputs]) -> None:
        """Copy the weights.

        Raises:
            QuantizationError: int8 cannot hold the network.
            ValueError: the network has no calibrated ranges, or blocks of two layers.
        """
        ranges = network.ranges
        if ranges is None or network.config.time_fold != 1:
            raise ValueError(
                "the int8 engine runs dense networks with time_fold 1 and calibrated ranges, not "
                f"{network.config}"
            )
        weights = {name: _values(value) for name, value in network.state_dict().items()}
        if not all(np.isfinite(table).all() for table in (*weights.values(), *ranges.tables().values())):
            raise QuantizationError("the network's weights or ranges are no numbers; use precision 'float32'")
        first, kinds = exact_first_layer_bias(network, experiments)
        trunk = _Trunk(weights, ranges)
        stream = 2.0**trunk.stream_bits
        channels = network.config.channels
        embed = weights["embed.weight"].reshape(channels, -1, 27)[:, :DETECTORS].transpose(1, 2, 0)
        head = weights["head.weight"].reshape(-1, channels, 27).transpose(0, 2, 1)
        head_table, head_unit, head_bias = _in_16_bits(head, weights["head.bias"] * stream)
        self.arrays = trunk.arrays | {
            "embed": _rounded(embed * stream),
            "first_layer_bias": _rounded(first * stream),
            "head": head_table,
            "head_scale": (head_unit / stream).astype(np.float32),
            "head_bias": head_bias,
        }
        self.timelines = [np.stack([of, np.zeros_like(of)], axis=1) for of in kinds.of]


class _Trunk:
    """The tables of the residual blocks.

    Attributes:
        stream_bits: a unit of the stream is 2^-stream_bits.
        arrays: tables by name.
    """

    def __init__(self, weights: dict[str, np.ndarray], ranges: ActivationRanges) -> None:
        blocks = len(ranges.hidden_high)
        stream_range = max(-float(ranges.stream_low.min()), float(ranges.stream_high.max()))
        self.stream_bits = _bits(stream_range)
        bits, parts = [self.stream_bits], []
        for number in range(blocks):
            bits.append(_bits(float(ranges.hidden_high[number].max())))
            part = {name: weights[f"trunk.{number}.{name}"] for name in _NAMES}
            parts.append(self._block(number, part, ranges, hidden_bits=bits[-1]))
        self.arrays = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        self.arrays["unit_bits"] = np.array(bits, dtype=np.int32)

    def _block(
        self, number: int, weights: dict[str, np.ndarray], ranges: ActivationRanges, *, hidden_bits: int
    ) -> dict[str, np.ndarray]:
        low, high = (table[number].astype(np.float64) for table in (ranges.stream_low, ranges.stream_high))
        channels = len(low)
        spatial = weights["spatial.weight"].reshape(channels, channels, 27).transpose(0, 2, 1)
        gain, zero, unit = self._inputs(low, high, importance=np.abs(spatial).max(axis=(0, 1)))
        spatial = spatial * unit
        spatial_unit = np.maximum(np.abs(spatial).max(axis=(1, 2)), np.finfo(np.float32).tiny) / _WEIGHT
        hidden_low, hidden_high = (
            table[number].astype(np.float64) for table in (ranges.hidden_low, ranges.hidden_high)
        )
        pointwise = weights["pointwise.weight"].reshape(channels, channels)
        changes = np.abs(pointwise).max(axis=0) * (hidden_high - hidden_low)
        order = np.argsort(changes <= _NEGLIGIBLE, kind="stable")
        used = int((changes > _NEGLIGIBLE).sum())
        left_out = order[used:]
        constant = [
            math.fsum(row) for row in pointwise[:, left_out] * (hidden_low + hidden_high)[left_out] / 2
        ]
        pointwise = pointwise[:, order]
        pointwise[:, used:] = 0
        hidden = 2.0**hidden_bits
        bias = (weights["pointwise.bias"] + constant) * hidden
        pointwise_table, pointwise_unit, pointwise_bias = _in_16_bits(pointwise, bias)
        table = np.rint(spatial / spatial_unit[:, None, None])[order].astype(np.int8)
        table[used:] = 0
        return {
            "used": np.array([channels, used], dtype=np.int32),
            "input_gain": gain.astype(np.int16),
            "input_zero": zero.astype(np.int16),
            "spatial": table,
            "spatial_scale": (spatial_unit * hidden)[order].astype(np.float32),
            "spatial_bias": _whole(weights["spatial.bias"] / spatial_unit, _LARGEST_BIAS)[order],
            "pointwise": pointwise_table,
            "pointwise_scale": (pointwise_unit * 2.0 ** (self.stream_bits - hidden_bits)).astype(np.float32),
            "pointwise_bias": pointwise_bias,
        }

    def _inputs(
        self, low: np.ndarray, high: np.ndarray, *, importance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gains and zeros of a convolution's inputs, and what a unit of them stands for: each `(C,)`.

        Units of channels that matter less are coarser: their numbers are then smaller, and with them what
        the rounding of their weights adds to all outputs.
        """
        width = np.maximum(high - low, np.finfo(np.float32).tiny)
        matters = np.maximum(width * importance, np.finfo(np.float32).tiny)
        coarser = np.clip(np.sqrt(matters.max() / matters) / 2, 1, _COARSER)
        scale = 2.0 ** (15 - self.stream_bits)  # a product with a gain loses 15 bits
        gain = np.clip(np.floor(scale * _STEPS / (width * coarser)), 1, 32_767)
        unit = scale / gain
        return gain, np.clip(np.rint(-low / unit), 0, _STEPS), unit


_NAMES = ("spatial.weight", "spatial.bias", "pointwise.weight", "pointwise.bias")


def _bits(largest: float) -> int:
    """Bits behind the point with which 16 bits hold numbers up to `largest`, and some more."""
    bits = -math.frexp(_ROOM * largest / 32_767)[1]
    if bits < _BITS[0]:
        raise QuantizationError(
            f"the network's activations reach {largest:.3g}, and int8 holds them up to "
            f"{32_767 / _ROOM / 2 ** _BITS[0]:.0f}; use precision 'float32'"
        )
    return min(bits, _BITS[1])


def _in_16_bits(weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights `(o, ...)` in units with which no sum overflows, the units `(o,)`, and the bias in them."""
    absolute = np.abs(weights).reshape(len(weights), -1)
    allowed = _SUM - absolute.shape[1] // 2
    sums = np.array([math.fsum(row) for row in absolute])
    bounds = (absolute.max(axis=1) / 32_767, sums / allowed, np.abs(bias) / _BIAS)
    unit = np.maximum(np.max(bounds, axis=0), np.finfo(np.float32).tiny)
    table = _rounded(weights / unit.reshape(-1, *[1] * (weights.ndim - 1)))
    return table, unit, _whole(bias / unit, _BIAS)


def _rounded(values: np.ndarray) -> np.ndarray:
    """The nearest int16."""
    return _whole(values, 32_767).astype(np.int16)


def _whole(values: np.ndarray, largest: int) -> np.ndarray:
    return np.clip(np.rint(values), -largest, largest).astype(np.int32)


def _values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().astype(np.float64)
