"""What the engines' tables hold of a layout and of the network's numbers that depend on it.

Shape legend: T layers, (I, J) the ancilla grid, whose cells are 2 x 2 ancillas, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predecoder.rates import move_rates
from qec import DetectorLayout, MoveSet

if TYPE_CHECKING:
    import torch

    from predecoder.network import Network

__all__ = ["DETECTORS", "MOVES", "cells", "fields", "start", "targets"]

DETECTORS, MOVES = 4, 12
"""Of a cell, and the network's channels in and out."""


def cells(grid_TIJ: np.ndarray) -> np.ndarray:
    """A grid folded into cells of 2 x 2 ancillas: `(T, I, J)` -> `(T, 4, I / 2, J / 2)`."""
    layers, rows, columns = grid_TIJ.shape
    return (
        grid_TIJ.reshape(layers, rows // 2, 2, columns // 2, 2)
        .transpose(0, 2, 4, 1, 3)
        .reshape(layers, 4, rows // 2, columns // 2)
    )


def start(network: Network, layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """What the first convolution adds to that of the detections: biases, where detectors are, and the noise.

    Returns:
        float32 `(T, I / 2, J / 2, C)`.
    """
    import torch

    # Each convolution with its inputs; the first one's come after those of the detections.
    parts = [(network.embed, DETECTORS, cells(layout.detector_grid) >= 0)]
    if network.noise is not None:
        rates = np.concatenate([cells(grid) for grid in move_rates(layout, moves)], axis=1)
        parts.append((network.noise, 0, rates))
    total = torch.zeros(())
    with torch.inference_mode():
        for convolution, first, planes in parts:
            weight = convolution.weight.detach().cpu()[:, first:].contiguous()
            bias = convolution.bias.detach().cpu()  # pyright: ignore[reportOptionalMemberAccess]
            total = total + torch.nn.functional.conv3d(_as_input(planes), weight, bias, padding=1)
    return total[0].numpy().transpose(1, 2, 3, 0)


def fields(network: Network, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What every block adds to its stencils: biases and the geometry.

    Args:
        present: bool `(T, 4, I / 2, J / 2)`.

    Returns:
        float32 `(blocks, kinds, I / 2, C, J / 2)`, and the kind of every layer, int32 `(T,)`: most are alike.
    """
    import torch

    biases = torch.stack([block.spatial.bias for block in network.trunk])  # pyright: ignore
    biases = biases.detach().cpu()[:, :, None, None]
    rows, columns = present.shape[2:]
    if network.geometry is None:
        fields = biases.expand(-1, -1, rows, columns).swapaxes(1, 2).numpy()
        return fields[:, None], np.zeros(len(present), dtype=np.int32)
    reach, (first, kind) = network.geometry.REACH, _kinds(present, reach=network.geometry.REACH)
    fields = []
    with torch.inference_mode():
        for t in first:
            low = max(0, t - reach)
            around = _as_input(present[low : t + reach + 1]).to(network.embed.weight.device)
            geometry = torch.cat(network.fields(around))[:, :, t - low]  # pyright: ignore[reportArgumentType]
            fields.append((biases + geometry.cpu()).swapaxes(1, 2).numpy())
    return np.stack(fields, axis=1), kind


def _kinds(present: np.ndarray, *, reach: int) -> tuple[list[int], np.ndarray]:
    """Layers of one kind have the same detectors up to `reach` layers around: first ones, and all kinds."""
    outside: list[bytes | None] = [None] * reach
    layers = [*outside, *(layer.tobytes() for layer in present), *outside]
    first: dict[tuple[bytes | None, ...], int] = {}
    kind = np.empty(len(present), dtype=np.int32)
    starts = []
    for t in range(len(present)):
        kind[t] = first.setdefault(tuple(layers[t : t + 2 * reach + 1]), len(first))
        if kind[t] == len(starts):
            starts.append(t)
    return starts, kind


def _as_input(planes: np.ndarray) -> torch.Tensor:
    """Channels of cells `(T, n, I / 2, J / 2)` as a convolution takes them: `(1, n, T, I / 2, J / 2)`."""
    import torch

    return torch.from_numpy(planes.transpose(1, 0, 2, 3).astype(np.float32))[None]


def targets(layout: DetectorLayout, moves: MoveSet) -> np.ndarray:
    """The move of every channel of every cell, or -1 where there is none: int32 `(T, I / 2, 12, J / 2)`."""
    kind, t, i, j = np.unravel_index(moves.positions, layout.move_mask.shape)
    layers, rows, columns = layout.shape
    table = np.full((layers, rows // 2, MOVES, columns // 2), -1, dtype=np.int32)
    table[t, i // 2, 4 * kind + 2 * (i % 2) + j % 2, j // 2] = np.arange(moves.num_moves)
    return table
