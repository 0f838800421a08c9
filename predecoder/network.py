"""The pre-decoder network: a residual 3-D CNN over space-time blocks.

Shape legend: B shots, C channels, (t, i, j) blocks of 2 layers by 2 x 2 ancillas (`blocking.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from predecoder.activation import gelu
from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS
from predecoder.convolution import Convolution
from predecoder.separable import Geometry, SeparableBlock
from qec import NOISE_FEATURES

__all__ = ["Network", "NetworkConfig"]


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a network.

    Attributes:
        channels: width of the trunk.
        residual_blocks: number of 3x3x3 residual blocks between the first and the last convolution.
        separable: blocks of a stencil for every channel and a mixing of channels, and a last
            convolution of size 1: a tenth of the operations. The native engine runs these only.
        geometry: channels of a separable network's second input, where detectors are, for every block;
            0 for none. It costs nothing once a patch is known.
        rates: whether the network is told of the noise (`predecoder.rates`). In the native engines it costs
            nothing once a DEM is known.
        integers: whether the native engine computes a separable network in integers of 8 and 16 bits, twice
            as fast or more, with time_fold 1 and a multiple of 16 channels, up to 256. The weights then hold
            the ranges of its activations (`predecoder.calibration`).
        time_fold: layers that share one cell of the trunk, 1 or 2. With 1, the weights are the same
            in every layer and a convolution reaches half as far in time, for twice the operations.
    """

    channels: int = 64
    residual_blocks: int = 4
    time_fold: int = 2
    separable: bool = False
    geometry: int = 0
    rates: bool = False
    integers: bool = False

    def __post_init__(self) -> None:
        for name in ("separable", "rates", "integers"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"network {name}={getattr(self, name)!r} is not true or false")
        if not isinstance(self.geometry, int) or self.geometry < 0 or (self.geometry and not self.separable):
            raise ValueError(
                f"network geometry={self.geometry!r} is not a whole number of channels of a separable network"
            )
        if self.time_fold not in (1, 2):
            raise ValueError(f"network time_fold={self.time_fold!r} is not 1 or 2")
        for name in ("channels", "residual_blocks"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1024:
                raise ValueError(f"network {name}={value!r} is not a whole number from 1 to 1024")
        fitting = self.separable and self.time_fold == 1 and self.channels in range(16, 257, 16)
        if self.integers and not fitting:
            raise ValueError(
                "network integers=true needs separable=true, time_fold=1 and channels=16, 32, ... 256, not "
                f"separable={self.separable}, time_fold={self.time_fold} and channels={self.channels}"
            )

    @property
    def halo(self) -> tuple[int, int, int]:
        """Layers, rows and columns on either side that one output depends on, in whole cells."""
        convolutions = self.residual_blocks + (1 if self.separable else 2)
        if self.geometry:
            convolutions = max(convolutions, self.residual_blocks - 1 + Geometry.REACH)
        return self.time_fold * convolutions, 2 * convolutions, 2 * convolutions

    @property
    def macs_per_block(self) -> int:
        """Multiply-accumulates for one block of 2 layers by 2 x 2 ancillas, of every shot."""
        c, cells = self.channels, 2 // self.time_fold
        # A cell has 1 / cells of the channels at either end.
        if self.separable:
            return c * (27 * INPUT_CHANNELS + MOVE_CHANNELS) + cells * self.residual_blocks * (27 * c + c * c)
        return 27 * c * (INPUT_CHANNELS + MOVE_CHANNELS) + cells * self.residual_blocks * (27 * c * c + c * c)

    def macs_per_round(self, distance: int) -> float:
        """Multiply-accumulates per round at odd `distance`."""
        return self.macs_per_block * ((distance + 1) // 2) ** 2 / 2


class ResidualBlock(nn.Module):
    """x + W1 gelu(W3 x), with W1 zero at the start so that every block begins as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = Convolution(channels, channels, 3)
        self.mix = Convolution(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BCtij: torch.Tensor) -> torch.Tensor:
        return x_BCtij + self.mix(gelu(self.spatial(x_BCtij)))


class Network(nn.Module):
    """Logits of every move from a blocked syndrome: `(B, 16, t, i, j)` -> `(B, 24, t, i, j)`.

    A convolution sees zeros beyond the grid's edge, and the presence channels tell an edge from a
    silent detector, so one set of weights serves every distance, number of rounds and basis.

    Attributes:
        stream_range: of a network with `integers`, how large each channel gets, `(C,)`; see `calibration`.
        hidden_range: the same of the hidden activations, `(blocks, C)`.
    """

    stream_range: torch.Tensor
    hidden_range: torch.Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        cells = 2 // config.time_fold
        self.embed = Convolution(INPUT_CHANNELS // cells, config.channels, 3)
        kind, last = (SeparableBlock, 1) if config.separable else (ResidualBlock, 3)
        self.noise = None
        if config.rates:
            self.noise = Convolution(8 * NOISE_FEATURES // cells, config.channels, 3)
            nn.init.zeros_(self.noise.weight)
            nn.init.zeros_(self.noise.bias)  # pyright: ignore[reportArgumentType]
        self.trunk = nn.ModuleList(kind(config.channels) for _ in range(config.residual_blocks))
        self.head = Convolution(config.channels, MOVE_CHANNELS // cells, last)
        self.geometry = None
        if config.geometry:
            self.geometry = Geometry(
                INPUT_CHANNELS // (2 * cells),
                config.geometry,
                channels=config.channels,
                blocks=config.residual_blocks,
            )
        if config.integers:
            self.register_buffer("stream_range", torch.zeros(config.channels))
            self.register_buffer("hidden_range", torch.zeros(config.residual_blocks, config.channels))
        # About one move in a hundred is a correction at p = 0.006.
        nn.init.constant_(self.head.bias, -math.log(99))  # pyright: ignore[reportArgumentType]
        self.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    def fields(self, present_1Ctij: torch.Tensor) -> list[torch.Tensor] | list[None]:
        """What the patch adds to every block of a separable network, of its presence channels."""
        if self.geometry is None:
            return [None] * len(self.trunk)
        return self.geometry(present_1Ctij.contiguous(memory_format=torch.channels_last_3d))

    def embedded(self, x_BCtij: torch.Tensor, rates_1Rtij: torch.Tensor | None) -> torch.Tensor:
        """Of cells, what the first convolution makes of shots and of the noise.

        Raises:
            ValueError: the network is not told of a noise it has to know, or of one it cannot use.
        """
        if (self.noise is None) != (rates_1Rtij is None):
            told = "without its rates" if rates_1Rtij is None else "with rates"
            raise ValueError(f"a network with rates={self.config.rates} was run {told}; see predecoder.rates")
        x = self.embed(x_BCtij)
        if self.noise is None or rates_1Rtij is None:
            return x
        return x + self.noise(self._cells(rates_1Rtij))

    def forward(self, x_BCtij: torch.Tensor, rates_1Rtij: torch.Tensor | None = None) -> torch.Tensor:
        """Shots of one patch: a separable network looks at the first one's presence channels only.

        Args:
            x_BCtij: `(B, 16, t, i, j)`.
            rates_1Rtij: `(1, 64, t, i, j)`, the blocked `predecoder.rates.move_rates`, where configured.
        """
        x = self._cells(x_BCtij)
        fields = self.fields(x[:1, x.shape[1] // 2 :]) if self.config.separable else []
        x = self.embedded(x, rates_1Rtij)
        if self.config.separable:
            x = torch.relu(x)
            for residual_block, field in zip(self.trunk, fields, strict=True):
                x = residual_block(x, field)
        else:
            x = gelu(x)
            for residual_block in self.trunk:
                x = residual_block(x)
        x = self.head(x)
        return _join_layers(x) if self.config.time_fold == 1 else x

    def activations(
        self, x_BCtij: torch.Tensor, rates_1Rtij: torch.Tensor | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Of every block of a separable network: how large the stream is around it, and what it mixes.

        The stream before the first block counts before its relu.
        """
        x = self._cells(x_BCtij)
        fields = self.fields(x[:1, x.shape[1] // 2 :])
        stream = self.embedded(x, rates_1Rtij)
        x = torch.relu(stream)
        for block, field in zip(self.trunk, fields, strict=True):
            hidden = block.hidden(x, field)  # pyright: ignore[reportCallIssue]
            x = x + block.mix(hidden)  # pyright: ignore[reportCallIssue]
            yield torch.maximum(stream.abs(), x.abs()), hidden
            stream = x

    def _cells(self, blocked_BCtij: torch.Tensor) -> torch.Tensor:
        return _split_layers(blocked_BCtij) if self.config.time_fold == 1 else blocked_BCtij


def _split_layers(x_BCtij: torch.Tensor) -> torch.Tensor:
    """Blocks to single layers: `(B, 2 C, t, i, j)` -> `(B, C, 2 t, i, j)`; kinds of channels stay apart."""
    b, c, t, i, j = x_BCtij.shape
    x = x_BCtij.reshape(b, c // 8, 2, 4, t, i, j).permute(0, 1, 3, 4, 2, 5, 6)
    return x.reshape(b, c // 2, 2 * t, i, j).contiguous(memory_format=torch.channels_last_3d)


def _join_layers(x_BCTij: torch.Tensor) -> torch.Tensor:
    """Inverse of `_split_layers`."""
    b, c, t, i, j = x_BCTij.shape
    x = x_BCTij.reshape(b, c // 4, 4, t // 2, 2, i, j).permute(0, 1, 4, 2, 3, 5, 6)
    return x.reshape(b, 2 * c, t // 2, i, j)
