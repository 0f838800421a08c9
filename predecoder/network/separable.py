"""The separable network's parts: blocks of stencils and mixing, and what a patch's shape adds to them.

Shape legend: B shots, C channels, (t, i, j) cells.
"""

from __future__ import annotations

import torch
from torch import nn

from predecoder.network.convolution import Convolution, DepthwiseConvolution

__all__ = ["Geometry", "SeparableBlock"]


class SeparableBlock(nn.Module):
    """x + W1 relu(D3 x + field), D3 a stencil for every channel, with W1 zero at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = DepthwiseConvolution(channels)
        self.mix = Convolution(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BCtij: torch.Tensor, field_1Ctij: torch.Tensor | None) -> torch.Tensor:
        return x_BCtij + self.mix(self.hidden(x_BCtij, field_1Ctij))

    def hidden(self, x_BCtij: torch.Tensor, field_1Ctij: torch.Tensor | None) -> torch.Tensor:
        """What is mixed: never negative."""
        hidden = self.spatial(x_BCtij)
        return torch.relu(hidden if field_1Ctij is None else hidden + field_1Ctij)


class Geometry(nn.Module):
    """Where detectors are, to what every block adds at every cell.

    It does not depend on the shot, so an engine that knows the patch computes it once and a network
    knows its edges for nothing. It is zero at the start.
    """

    REACH = 2
    """Cells on either side that a field depends on."""

    def __init__(self, inputs: int, width: int, *, channels: int, blocks: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(inputs, width, 3), Convolution(width, width, 3)
        self.fields = nn.ModuleList(Convolution(width, channels, 1) for _ in range(blocks))
        for field in self.fields:
            nn.init.zeros_(field.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(field.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, present_1Ctij: torch.Tensor) -> list[torch.Tensor]:
        """A field `(1, C, t, i, j)` for every block, of presence `(1, inputs, t, i, j)`."""
        x = torch.relu(self.second(torch.relu(self.first(present_1Ctij))))
        return [field(x) for field in self.fields]
