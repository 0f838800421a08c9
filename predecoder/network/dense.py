"""The dense family: full 3 x 3 x 3 convolutions.

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) cells (`base.py`).
"""

from __future__ import annotations

import torch
from torch import nn

from predecoder.network.activation import gelu
from predecoder.network.base import Network, zero
from predecoder.network.config import DenseConfig
from predecoder.network.convolution import Convolution

__all__ = ["DenseNetwork"]


class DenseBlock(nn.Module):
    """x + W1 gelu(W3 x), with W1 zero at the start so that every block begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = Convolution(channels, channels, 3)
        self.pointwise = Convolution(channels, channels, 1)
        zero(self.pointwise)

    def forward(self, x_BCTij: torch.Tensor) -> torch.Tensor:
        return x_BCTij + self.pointwise(gelu(self.spatial(x_BCTij)))


class DenseNetwork(Network):
    """A network of `DenseConfig`."""

    config: DenseConfig
    _head_size = 3

    def _block(self) -> DenseBlock:
        return DenseBlock(self.config.channels)

    def logits(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """See `Network.logits`."""
        x = gelu(self.embedded(self._cells(x_BCtij), noise_bias_1CTij))
        for block in self.trunk:
            x = block(x)
        return self._blocks(self.head(x))
