"""The dense family: full 3 x 3 x 3 convolutions.

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) cells (`base.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from predecoder.network.activation import gelu
from predecoder.network.base import Network, zero
from predecoder.network.config import DenseConfig, Int8Support
from predecoder.network.convolution import Convolution
from predecoder.network.ranges import ActivationRanges

__all__ = ["DenseNetwork", "bfloat16_blocks"]


class DenseBlock(nn.Module):
    """x + W1 gelu(W3 x), with W1 zero at the start so that every block begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = Convolution(channels, channels, 3)
        self.pointwise = Convolution(channels, channels, 1)
        zero(self.pointwise)

    def forward(self, x_BCTij: torch.Tensor, *, time_last: bool = False) -> torch.Tensor:
        hidden = gelu(self.spatial(x_BCTij, time_last=time_last))
        return x_BCTij + self.pointwise(hidden, time_last=time_last)


class DenseNetwork(Network):
    """A network of `DenseConfig`.

    Attributes:
        ranges: what its activations span, for int8; None where that was not measured.
    """

    config: DenseConfig
    ranges: ActivationRanges | None = None
    _head_size = 3
    _blocks_in_bfloat16 = False

    @property
    def int8(self) -> Int8Support:
        """See `Network.int8`."""
        return "none" if self.ranges is None else "available"

    def _block(self) -> DenseBlock:
        return DenseBlock(self.config.channels)

    def stream(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """See `Network.stream`."""
        x = gelu(self.embedded(self.cells(x_BCtij), noise_bias_1CTij))
        return self._in_bfloat16(x) if self._blocks_in_bfloat16 else self._in_float32(x)

    def _in_float32(self, x_BCTij: torch.Tensor) -> torch.Tensor:
        for block in self.trunk:
            x_BCTij = block(x_BCTij)
        return x_BCTij

    def _in_bfloat16(self, x_BCTij: torch.Tensor) -> torch.Tensor:
        """The blocks with time as the last axis, see `Convolution`; x, which they add to, stays float32."""
        x_BCijT = x_BCTij.permute(0, 1, 3, 4, 2).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(x_BCTij.device.type, torch.bfloat16):
            for block in self.trunk:
                x_BCijT = block(x_BCijT, time_last=True)
        return x_BCijT.permute(0, 1, 4, 2, 3).contiguous(memory_format=torch.channels_last_3d)


@contextmanager
def bfloat16_blocks(network: Network) -> Iterator[None]:
    """Let the residual blocks of a dense network compute in bfloat16, for training.

    The first and the last convolution, and the sums between the blocks, stay in float32: they are a tenth of
    the operations, and would be half of the error in the logits.

    Raises:
        ValueError: the network is of another family.
    """
    if not isinstance(network, DenseNetwork):
        raise ValueError(
            f"a network of family={network.config.family!r} has no bfloat16 blocks, a dense one has"
        )
    network._blocks_in_bfloat16 = True
    try:
        yield
    finally:
        network._blocks_in_bfloat16 = False
