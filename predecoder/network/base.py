"""What the networks of all families share: inputs, the noise's bias, and layers that fold into blocks.

Shape legend: B shots, C channels of the trunk, F noise features, (t, i, j) blocks of 2 layers by 2 x 2
ancillas (`blocking.py`), (T, i, j) cells: blocks, or with time_fold 1 their single layers.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import abstractmethod

import torch
from torch import nn

from predecoder.blocking import INPUT_CHANNELS, MOVE_CHANNELS
from predecoder.network.config import Int8Support, NetworkConfig
from predecoder.network.convolution import Convolution
from qec import NOISE_FEATURES

__all__ = ["Network", "removal_network"]

_TYPICAL_PROBABILITY = 0.01
"""About one move in a hundred is a correction at p = 0.006."""


class Network(nn.Module):
    """Logits of every move from a blocked syndrome: `(B, 16, t, i, j)` -> `(B, 24, t, i, j)`.

    A convolution sees zeros beyond the grid's edge, and the presence channels tell an edge from a detector
    that did not fire, so one set of weights serves every distance, number of rounds and basis.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        cells = 2 // config.time_fold
        self.embed = Convolution(INPUT_CHANNELS // cells, config.channels, 3)
        self.noise_embedding = None
        if config.noise_conditioned:
            self.noise_embedding = Convolution(8 * NOISE_FEATURES // cells, config.channels, 3)
            zero(self.noise_embedding)
        self.trunk = nn.ModuleList(self._block() for _ in range(config.residual_blocks))
        self.head = self._head(MOVE_CHANNELS // cells)
        self._make_more()
        self.removal_head = self._head(MOVE_CHANNELS // cells) if config.removal_head else None
        self.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]

    @property
    def int8(self) -> Int8Support:
        """Whether int8 engines can run it, and do by default."""
        return "default" if self.config.quantized else "none"

    _head_size: int
    """Of the last convolution's kernel."""

    def _head(self, outputs: int) -> Convolution:
        head = Convolution(self.config.channels, outputs, self._head_size)
        bias = math.log(_TYPICAL_PROBABILITY / (1 - _TYPICAL_PROBABILITY))
        nn.init.constant_(head.bias, bias)  # pyright: ignore[reportArgumentType]
        return head

    @abstractmethod
    def _block(self) -> nn.Module:
        """A residual block; it begins as the identity."""

    def _make_more(self) -> None:
        """Makes what only one family has."""

    @abstractmethod
    def stream(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """Compute what the last convolution gets, `(B, C, T, i, j)`."""

    def logits(self, x_BCtij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None = None) -> torch.Tensor:
        """Compute `forward` with the noise's part of the first layer given: see `noise_bias`."""
        return self.blocks(self.head(self.stream(x_BCtij, noise_bias_1CTij)))

    def both(
        self, x_BCtij: torch.Tensor, noise_features_1Ftij: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute `forward`, and the logits of the removal head, which are the same where there is none."""
        noise_bias = None if noise_features_1Ftij is None else self.noise_bias(noise_features_1Ftij)
        x = self.stream(x_BCtij, noise_bias)
        logits = self.blocks(self.head(x))
        return logits, logits if self.removal_head is None else self.blocks(self.removal_head(x))

    def forward(
        self, x_BCtij: torch.Tensor, noise_features_1Ftij: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the logits of shots of one patch.

        Args:
            x_BCtij: `(B, 16, t, i, j)`, blocked detections and presence; the presence of the first shot
                stands for all.
            noise_features_1Ftij: `(1, 64, t, i, j)`, the blocked `qec.DecodingProblem.noise_features`, where
                configured.
        """
        if noise_features_1Ftij is None:
            return self.logits(x_BCtij)
        return self.logits(x_BCtij, self.noise_bias(noise_features_1Ftij))

    def noise_bias(self, noise_features_1Ftij: torch.Tensor) -> torch.Tensor:
        """Compute what the first layer adds for a DEM's noise: `(1, 64, t, i, j)` -> `(1, C, T, i, j)`.

        Raises:
            ValueError: the network is not noise-conditioned.
        """
        if self.noise_embedding is None:
            raise ValueError(
                "a network with noise_conditioned=False was given noise features; leave them out"
            )
        return self.noise_embedding(self.cells(noise_features_1Ftij))

    def embedded(self, x_BCTij: torch.Tensor, noise_bias_1CTij: torch.Tensor | None) -> torch.Tensor:
        """Compute the first layer, of cells, before its nonlinearity.

        Raises:
            ValueError: a noise-conditioned network without the noise's bias, or the other way round.
        """
        if (self.noise_embedding is None) != (noise_bias_1CTij is None):
            given = "without noise features" if noise_bias_1CTij is None else "with noise features"
            raise ValueError(
                f"a network with noise_conditioned={self.config.noise_conditioned} was run {given}; see "
                "qec.DecodingProblem.noise_features"
            )
        x = self.embed(x_BCTij)
        return x if noise_bias_1CTij is None else x + noise_bias_1CTij

    def cells(self, blocked_BCtij: torch.Tensor) -> torch.Tensor:
        """Cut blocks, of any number of kinds, into what the trunk computes on: `(B, C, t, i, j)` to cells."""
        return _split_layers(blocked_BCtij) if self.config.time_fold == 1 else blocked_BCtij

    def blocks(self, x_BCTij: torch.Tensor) -> torch.Tensor:
        """Undo `cells`: `(B, c, T, i, j)` to blocks."""
        return _join_layers(x_BCTij) if self.config.time_fold == 1 else x_BCTij


def removal_network(network: Network) -> Network:
    """Return the network whose logits say which moves to commit: a copy with that head, if it has two."""
    if network.removal_head is None:
        return network
    made = copy.deepcopy(network)
    made.config = dataclasses.replace(made.config, removal_head=False)
    made.head, made.removal_head = copy.deepcopy(network.removal_head), None
    return made


def zero(convolution: nn.Conv3d) -> None:
    """Make a convolution give zeros."""
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType]


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
