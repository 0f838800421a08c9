"""Block-wise inference: a volume cut into tiles, each computed with the halo that its network sees.

A tile's logits are the whole volume's, so memory is bounded whatever the volume, tiles can go to different
devices, and a stream can be computed as its rounds arrive. In float32 on a CPU they are equal bit for bit; in
bfloat16 and on GPUs libraries choose their order of summation by shape, and they are equal but for rounding.

Shape legend: B shots, C channels, (t, i, j) blocks of 2 layers by 2 x 2 ancillas (`blocking.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predecoder.blocking import MOVE_CHANNELS

if TYPE_CHECKING:
    import torch

    from predecoder.network import FusedDense, Network

__all__ = ["Tile", "halo_blocks", "infer_tiled", "tiles", "with_halo"]

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Tile:
    """One tile of a volume.

    Attributes:
        core: the blocks (t, i, j) that the tile yields.
        source: the blocks that it is computed from: the core and its halo, cut at the volume's faces.
        crop: where the core lies in the source.
    """

    core: Slices
    source: Slices
    crop: Slices


def halo_blocks(network: Network | FusedDense) -> tuple[int, int, int]:
    """Blocks (t, i, j) on either side that one block's logits depend on."""
    layers, rows, columns = network.config.halo
    return -(-layers // 2), -(-rows // 2), -(-columns // 2)


def tiles(shape: Sequence[int], size: Sequence[int], halo: Sequence[int]) -> Iterator[Tile]:
    """Tiles of at most `size` blocks that cover a volume of `shape` blocks once, time outermost.

    At the volume's faces a source ends where the volume does: the network pads there itself, as it
    does for the whole volume.

    Raises:
        ValueError: a size below 1.
    """
    if min(size) < 1:
        raise ValueError(f"tile size {tuple(size)} has a side below 1 block")
    ranges = [range(0, n, s) for n, s in zip(shape, size, strict=True)]
    for start in itertools.product(*ranges):
        stop = [min(a + s, n) for a, s, n in zip(start, size, shape, strict=True)]
        sides = zip(start, stop, halo, shape, strict=True)
        low, high = zip(*(with_halo(a, b, h, end=n) for a, b, h, n in sides), strict=True)
        yield Tile(
            core=_slices(start, stop),
            source=_slices(low, high),
            crop=_slices(
                [a - o for a, o in zip(start, low, strict=True)],
                [b - o for b, o in zip(stop, low, strict=True)],
            ),
        )


def with_halo(start: int, stop: int, halo: int, *, end: int | None) -> tuple[int, int]:
    """First and last block plus one that blocks from `start` to `stop` are computed from, along one side.

    Args:
        start, stop: of the blocks.
        halo: blocks on either side that they depend on.
        end: where the volume ends; None where that is not in sight.
    """
    high = stop + halo
    return max(0, start - halo), high if end is None else min(high, end)


def infer_tiled(
    replicas: Sequence[Network | FusedDense],
    x_BCtij: torch.Tensor,
    noise_bias_1CTij: torch.Tensor | None = None,
    *,
    size: Sequence[int],
) -> torch.Tensor:
    """Logits `(B, 24, t, i, j)` of a blocked syndrome `(B, 16, t, i, j)`, tile by tile.

    Args:
        replicas: the network, once for each device; tiles go to them in turn.
        x_BCtij: float32, on any device.
        noise_bias_1CTij: `Network.noise_bias` of noise-conditioned networks, of the whole volume's cells.
        size: blocks (t, i, j) of a tile's core.

    Returns:
        float32, on the device of `x_BCtij`; equal to the whole volume's logits, bit for bit on a CPU.
    """
    batch, _, *shape = x_BCtij.shape
    logits = x_BCtij.new_empty((batch, MOVE_CHANNELS, *shape))
    parts = []
    for k, tile in enumerate(tiles(shape, size, halo_blocks(replicas[0]))):
        replica = replicas[k % len(replicas)]
        device = next(replica.parameters()).device
        noise_bias = None
        if noise_bias_1CTij is not None:
            time, rows, columns = tile.source
            fold = noise_bias_1CTij.shape[2] // shape[0]
            cells = slice(fold * time.start, fold * time.stop), rows, columns
            noise_bias = _cut(noise_bias_1CTij, cells, device)
        parts.append((tile, replica.logits(_cut(x_BCtij, tile.source, device), noise_bias)))
        if len(parts) == len(replicas):  # every device has one tile under way
            _collect(logits, parts)
    _collect(logits, parts)
    return logits


def _cut(x: torch.Tensor, source: Slices, device: torch.device) -> torch.Tensor:
    """A part of a volume on a device, channels last whatever the slice left of the strides."""
    import torch

    everything = slice(None)
    part = x[(everything, everything, *source)].to(device, non_blocking=True)
    return part.contiguous(memory_format=torch.channels_last_3d)


def _collect(logits: torch.Tensor, parts: list[tuple[Tile, torch.Tensor]]) -> None:
    everything = slice(None)
    for tile, part in parts:
        logits[(everything, everything, *tile.core)] = part[(everything, everything, *tile.crop)].to(
            logits.device, logits.dtype
        )
    parts.clear()


def _slices(start: Sequence[int], stop: Sequence[int]) -> Slices:
    t, i, j = (slice(a, b) for a, b in zip(start, stop, strict=True))
    return t, i, j
