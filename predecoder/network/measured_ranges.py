"""How to measure what a dense network's activations span.

Shape legend: B shots, C channels, (t, i, j) blocks, (T, i, j) cells.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from predecoder.network.activation import gelu
from predecoder.network.dense import DenseNetwork
from predecoder.network.ranges import ActivationRanges

__all__ = ["activation_ranges"]


@torch.no_grad()
def activation_ranges(
    network: DenseNetwork, batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]]
) -> ActivationRanges:
    """Measure what a network's activations span, on its own device and in float32.

    Args:
        network: unchanged.
        batches: blocked detections `(B, 16, t, i, j)` with noise features `(1, 64, t, i, j)` or None.
    """
    blocks, channels = network.config.residual_blocks, network.config.channels
    low = [np.zeros((n, channels), dtype=np.float32) for n in (blocks + 1, blocks)]
    high = [np.zeros_like(table) for table in low]

    def see(kind: int, number: int, x_BCTij: torch.Tensor) -> None:
        least, most = (
            found.cpu().numpy() for found in torch.aminmax(x_BCTij.transpose(0, 1).flatten(1), dim=1)
        )
        low[kind][number] = np.minimum(low[kind][number], least)
        high[kind][number] = np.maximum(high[kind][number], most)

    for inputs, features in batches:
        device = network.embed.weight.device
        noise_bias = None if features is None else network.noise_bias(features.to(device))
        x = gelu(network.embedded(network.cells(inputs.to(device)), noise_bias))
        for number, block in enumerate(network.trunk):
            see(0, number, x)
            hidden = gelu(block.spatial(x))  # pyright: ignore[reportCallIssue]
            see(1, number, hidden)
            x = x + block.pointwise(hidden)  # pyright: ignore[reportCallIssue]
        see(0, blocks, x)
    return ActivationRanges(low[0], high[0], low[1], high[1])
