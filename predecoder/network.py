"""The pre-decoder network: a residual 3-D CNN over space-time blocks.

Shape legend: B shots, C channels, (t, i, j) blocks of 2 layers by 2 x 2 ancillas (`blocking.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS
from predecoder.decision import DecisionConfig

__all__ = ["Network", "NetworkConfig"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a network.

    Attributes:
        channels: width of the trunk.
        residual_blocks: number of 3x3x3 residual blocks between the first and the last convolution.
    """

    channels: int = 64
    residual_blocks: int = 4

    def __post_init__(self) -> None:
        for name in ("channels", "residual_blocks"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1024:
                raise ValueError(f"network {name}={value!r} is not a whole number from 1 to 1024")

    @property
    def receptive_field(self) -> int:
        """Layers (and ancilla rows) that one output depends on: 2 (2 n + 1) for n 3x3x3 convolutions."""
        return 2 * (2 * (self.residual_blocks + 2) + 1)

    @property
    def macs_per_block(self) -> int:
        """Multiply-accumulates for one block of 2 layers by 2 x 2 ancillas."""
        c = self.channels
        return 27 * c * (INPUT_CHANNELS + MOVE_CHANNELS) + self.residual_blocks * (27 * c * c + c * c)

    def macs_per_round(self, distance: int) -> float:
        """Multiply-accumulates per round at odd `distance`."""
        return self.macs_per_block * ((distance + 1) // 2) ** 2 / 2


class ResidualBlock(nn.Module):
    """x + W1 gelu(W3 x), with W1 zero at the start so that every block begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(channels, channels, 3, padding=1)
        self.mix = nn.Conv3d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BCtij: torch.Tensor) -> torch.Tensor:
        return x_BCtij + self.mix(nn.functional.gelu(self.spatial(x_BCtij), approximate="tanh"))


class Network(nn.Module):
    """Logits of every move from a blocked syndrome: `(B, 16, t, i, j)` -> `(B, 24, t, i, j)`.

    A convolution sees zeros beyond the grid's edge, and the presence channels tell an edge from a
    silent detector, so one set of weights serves every distance, number of rounds and basis.

    `decision` is the rule that its logits were calibrated for; it is stored with the weights.
    """

    def __init__(self, config: NetworkConfig, decision: DecisionConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.decision = decision or DecisionConfig()
        self.embed = nn.Conv3d(INPUT_CHANNELS, config.channels, 3, padding=1)
        self.trunk = nn.ModuleList(ResidualBlock(config.channels) for _ in range(config.residual_blocks))
        self.head = nn.Conv3d(config.channels, MOVE_CHANNELS, 3, padding=1)
        # About one move in a hundred is a correction at p = 0.006.
        nn.init.constant_(self.head.bias, -math.log(99))  # pyright: ignore[reportArgumentType]
        self.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    def forward(self, x_BCtij: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.embed(x_BCtij), approximate="tanh")
        for residual_block in self.trunk:
            x = residual_block(x)
        return self.head(x)
