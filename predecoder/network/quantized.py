"""The quantized separable family: a separable network with the ranges that int8 engines scale it by.

Shape legend: B shots, C channels, F noise features, (t, i, j) blocks, (T, i, j) cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from predecoder.network.config import QuantizedSeparableConfig
from predecoder.network.separable import SeparableNetwork

__all__ = ["QuantizedSeparableNetwork", "calibrate"]

_CLIPPED = 1e-4
"""Share of hidden activations that may be cut off: the rest is then told apart more finely."""


class QuantizedSeparableNetwork(SeparableNetwork):
    """A network of `QuantizedSeparableConfig`.

    Attributes:
        stream_range: how large each channel gets between blocks, `(C,)`; zeros before `calibrate`.
        hidden_range: the same within blocks, `(blocks, C)`.
    """

    config: QuantizedSeparableConfig
    stream_range: torch.Tensor
    hidden_range: torch.Tensor

    def _make_more(self) -> None:
        super()._make_more()
        channels, blocks = self.config.channels, self.config.residual_blocks
        self.register_buffer("stream_range", torch.zeros(channels))
        self.register_buffer("hidden_range", torch.zeros(blocks, channels))

    def activations(
        self, x_BCtij: torch.Tensor, noise_features_1Ftij: torch.Tensor | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield of every block how large the stream is around it, and its hidden activations.

        The stream before the first block counts before its ReLU.
        """
        x = self.cells(x_BCtij)
        biases = self.position_biases(x[:1, x.shape[1] // 2 :])
        noise_bias = None if noise_features_1Ftij is None else self.noise_bias(noise_features_1Ftij)
        stream = self.embedded(x, noise_bias)
        x = torch.relu(stream)
        for block, bias in zip(self.trunk, biases, strict=True):
            hidden = block.hidden(x, bias)  # pyright: ignore[reportCallIssue]
            x = x + block.pointwise(hidden)  # pyright: ignore[reportCallIssue]
            yield torch.maximum(stream.abs(), x.abs()), hidden
            stream = x


@torch.no_grad()
def calibrate(
    network: QuantizedSeparableNetwork, batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]]
) -> None:
    """Set `stream_range` and `hidden_range` to what batches of the network's inputs span.

    Args:
        network: changed in place.
        batches: blocked detections `(B, 16, t, i, j)` with noise features `(1, 64, t, i, j)` or None.
    """
    stream, hidden = torch.zeros_like(network.stream_range), torch.zeros_like(network.hidden_range)
    for inputs, features in batches:
        given = (inputs.to(stream.device), None if features is None else features.to(stream.device))
        for at, (x, h) in enumerate(network.activations(*given)):
            stream = torch.maximum(stream, x.amax((0, 2, 3, 4)))
            hidden[at] = torch.maximum(hidden[at], _largest_but_few(h))
    network.stream_range.copy_(stream)
    network.hidden_range.copy_(hidden)


def _largest_but_few(h_BCTij: torch.Tensor) -> torch.Tensor:
    """The largest value of each channel but for `_CLIPPED` of them: `(C,)`."""
    flat = h_BCTij.transpose(0, 1).flatten(1)
    few = max(1, round(_CLIPPED * flat.shape[1]))
    return flat.topk(few, dim=1).values[:, -1]
