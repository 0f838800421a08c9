"""The separable family: depthwise and pointwise convolutions, and what a patch's shape adds to them.

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) cells: single layers of blocks.
"""

from __future__ import annotations

import torch
from torch import nn

from predecoder.network.base import Network, zero
from predecoder.network.config import SeparableConfig
from predecoder.network.convolution import Convolution, DepthwiseConvolution

__all__ = ["PatchEmbedding", "SeparableBlock", "SeparableNetwork"]


class SeparableBlock(nn.Module):
    """x + W1 relu(D3 x + position bias), D3 depthwise, with W1 zero at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = DepthwiseConvolution(channels)
        self.pointwise = Convolution(channels, channels, 1)
        zero(self.pointwise)

    def forward(self, x_BCTij: torch.Tensor, position_bias_1CTij: torch.Tensor | None) -> torch.Tensor:
        return x_BCTij + self.pointwise(self.hidden(x_BCTij, position_bias_1CTij))

    def hidden(self, x_BCTij: torch.Tensor, position_bias_1CTij: torch.Tensor | None) -> torch.Tensor:
        """Compute what the pointwise convolution gets: never negative."""
        hidden = self.depthwise(x_BCTij)
        return torch.relu(hidden if position_bias_1CTij is None else hidden + position_bias_1CTij)


class PatchEmbedding(nn.Module):
    """Where detectors are, to a position bias for every block.

    It does not depend on the shot, so an engine that knows the patch computes it once and a network knows
    its edges for nothing. It is zero at the start.
    """

    REACH = 2
    """Cells on either side that a position bias depends on."""

    def __init__(self, inputs: int, width: int, *, channels: int, blocks: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(inputs, width, 3), Convolution(width, width, 3)
        self.position_bias = nn.ModuleList(Convolution(width, channels, 1) for _ in range(blocks))
        for convolution in self.position_bias:
            zero(convolution)  # pyright: ignore[reportArgumentType]

    def forward(self, present_1CTij: torch.Tensor) -> list[torch.Tensor]:
        """Position biases `(1, C, T, i, j)` of every block, of presence `(1, inputs, T, i, j)`."""
        x = torch.relu(self.second(torch.relu(self.first(present_1CTij))))
        return [convolution(x) for convolution in self.position_bias]


class SeparableNetwork(Network):
    """A network of `SeparableConfig`."""

    config: SeparableConfig
    patch_embedding: PatchEmbedding | None
    _head_size = 1

    def _block(self) -> SeparableBlock:
        return SeparableBlock(self.config.channels)

    def _make_more(self) -> None:
        self.patch_embedding = None
        if self.config.patch_embedding:
            self.patch_embedding = PatchEmbedding(
                self.embed.in_channels // 2,
                self.config.patch_embedding,
                channels=self.config.channels,
                blocks=self.config.residual_blocks,
            )

    def position_biases(self, present_1CTij: torch.Tensor) -> list[torch.Tensor] | list[None]:
        """Compute what the patch adds in every block, of the presence channels of its cells."""
        if self.patch_embedding is None:
            return [None] * len(self.trunk)
        return self.patch_embedding(present_1CTij.contiguous(memory_format=torch.channels_last_3d))

    def stream(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """See `Network.stream`."""
        x = self.cells(x_BCtij)
        biases = self.position_biases(x[:1, x.shape[1] // 2 :])
        x = torch.relu(self.embedded(x, noise_bias_1CTij))
        for block, bias in zip(self.trunk, biases, strict=True):
            x = block(x, bias)
        return x
