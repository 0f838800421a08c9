"""The ranges of a separable network's activations, by which its engine in integers is scaled.

Shape legend: B shots, C channels, (t, i, j) blocks as in `predecoder.blocking`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from predecoder.network import Network

__all__ = ["calibrate"]

CUT = 1e-4
"""Share of hidden activations that may be cut off: the rest is then told apart more finely."""


@torch.no_grad()
def calibrate(network: Network, batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]]) -> None:
    """Sets `stream_range` and `hidden_range` to what `batches` of what a network is given span."""
    stream, hidden = torch.zeros_like(network.stream_range), torch.zeros_like(network.hidden_range)
    for inputs, rates in batches:
        given = (inputs.to(stream.device), None if rates is None else rates.to(stream.device))
        for at, (x, h) in enumerate(network.activations(*given)):
            stream = torch.maximum(stream, x.amax((0, 2, 3, 4)))
            hidden[at] = torch.maximum(hidden[at], _largest_but_few(h))
    network.stream_range.copy_(stream)
    network.hidden_range.copy_(hidden)


def _largest_but_few(h_BCtij: torch.Tensor) -> torch.Tensor:
    """Of each channel, `(C,)`."""
    flat = h_BCtij.transpose(0, 1).flatten(1)
    few = max(1, round(CUT * flat.shape[1]))
    return flat.topk(few, dim=1).values[:, -1]
