"""A dense network with its blocks in bfloat16 on a CPU, and all that is between convolutions done in them.

oneDNN convolves in bfloat16 at the speed of the processor's matrix units, and what is around convolutions
would take most of the time: weights are put in oneDNN's order once, and a nonlinearity or a sum is computed
while its operands are in registers, not in a pass of its own over all activations. Time is the last axis,
along which oneDNN's loops run. The first and the last convolution stay in float32, as in training
(`bfloat16_blocks`).

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) the network's cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from predecoder.network.activation import gelu
from predecoder.network.dense import DenseNetwork

__all__ = ["FusedDense"]

_ONES = [1, 1, 1]


@dataclass(frozen=True, eq=False)
class _Convolution:
    """A convolution of `(B, C, i, j, T)` in bfloat16.

    Attributes:
        weight: opaque, in oneDNN's order.
        bias: bfloat16 `(C,)`.
        padding: on either side.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    padding: list[int]

    @classmethod
    def of(cls, convolution: nn.Conv3d, shape: list[int]) -> _Convolution:
        """Copy the parameters of a convolution that has a bias; `shape` is of inputs to expect."""
        weight, bias = convolution.weight.detach(), convolution.bias
        assert bias is not None
        padding = [size // 2 for size in convolution.kernel_size]
        last = weight.to(torch.bfloat16).permute(0, 1, 3, 4, 2).contiguous().to_mkldnn()
        ordered = torch._C._nn.mkldnn_reorder_conv3d_weight(last, padding, _ONES, _ONES, 1, shape)  # pyright: ignore
        return cls(ordered, bias.detach().to(torch.bfloat16), padding)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """Compute GELU of the convolution of `x`."""
        return torch.ops.mkldnn._convolution_pointwise(x, *self._arguments, "gelu", [], "tanh")

    def add_to(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Add the convolution of `y` to `x` in its place, which is returned."""
        return torch.ops.mkldnn._convolution_pointwise_(x, y, *self._arguments, "add", 1.0, None, [], None)

    @property
    def _arguments(self) -> tuple[Any, ...]:
        return self.weight, self.bias, self.padding, _ONES, _ONES, 1


class FusedDense:
    """A `DenseNetwork` whose blocks compute in bfloat16, where `runs` says that they can.

    Attributes:
        config: of the network.
    """

    def __init__(self, network: DenseNetwork, *, cells: tuple[int, int, int], shots: int) -> None:
        """Copy the weights of the blocks.

        Args:
            cells: of a shot, (T, i, j), for which the weights' order is chosen; others are computed too.
            shots: of a batch, likewise.
        """
        self._network, self.config = network, network.config
        shape = [shots, network.config.channels, *cells[1:], cells[0]]
        self._blocks = [
            (_Convolution.of(block.spatial, shape), _Convolution.of(block.pointwise, shape))  # pyright: ignore
            for block in network.trunk
        ]

    @staticmethod
    def runs(device: torch.device) -> bool:
        """Whether torch and the processor have what it takes on a device."""
        operators = torch.ops.mkldnn
        return (
            device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            and operators._is_mkldnn_bf16_supported()
            and hasattr(operators, "_convolution_pointwise")
            and hasattr(operators, "_convolution_pointwise_")
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the network."""
        return self._network.parameters()

    def logits(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """See `Network.logits`; float32."""
        network = self._network
        with torch.autocast("cpu", enabled=False):
            x_BCTij = gelu(network.embedded(network.cells(x_BCtij), noise_bias_1CTij))
            x_BCijT = x_BCTij.to(torch.bfloat16).permute(0, 1, 3, 4, 2)
            x_BCijT = x_BCijT.contiguous(memory_format=torch.channels_last_3d)
            for spatial, pointwise in self._blocks:
                x_BCijT = pointwise.add_to(x_BCijT, spatial.gelu(x_BCijT))
            x_BCTij = x_BCijT.permute(0, 1, 4, 2, 3).float()
            return network.blocks(network.head(x_BCTij.contiguous(memory_format=torch.channels_last_3d)))
