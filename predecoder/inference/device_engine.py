"""The engine for GPUs: `cuda.qecpipe.CudaEngine` on every device and every tile of a volume.

Shots go to the devices batch by batch. A volume that is too large is cut into tiles, in time and, where its
patch alone is too large, in space; each tile is a layout of its own, and tiles of one batch go to the devices
in turn. All here works on any `Driver`, on CPU threads too.

Shots are bit-packed uint8 `(B, ceil(n / 8))`, LSB first. Shape legend: B shots, M moves in the order of
`MoveSet`, (t, i, j) blocks, (T, i, j) the network's cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cuda.qecpipe import (
    BATCH_SHOTS,
    Corrections,
    CudaEngine,
    Driver,
    Output,
    Program,
    common_parts,
    in_order,
)
from global_decoders.matching import Int8Logits, Logits
from predecoder.blocking import MOVE_CHANNELS, NetworkInput, blocked_noise_features, blocked_places
from predecoder.inference.placed_network import LOGIT_STEP, PlacedNetwork, noise_bias
from predecoder.inference.precision import Precision
from predecoder.inference.tiles import Tile, halo_blocks, tiles
from qec import DecodingProblem

if TYPE_CHECKING:
    from predecoder.network import Network

__all__ = ["DeviceEngine"]

_BLOCKS_PER_TILE = 32_768
"""A larger volume is cut, to bound the device's memory and to have work for several devices."""
_BLOCKS_PER_BATCH = 1 << 22
"""At most, of all shots of a batch: two gigabytes for a layer's activations of a wide network."""


class DeviceEngine:
    """A network on one decoding problem, on one or several devices.

    Attributes:
        precision: float32, whose logits are handed down as they are, or bfloat16 or float16, whose logits
            are handed down as int8 in units of `LOGIT_STEP`.
        batch_shots: shots of the largest batch.
    """

    def __init__(
        self,
        problem: DecodingProblem,
        network: Network,
        *,
        drivers: Sequence[Driver],
        precision: Precision = "float32",
        batch_shots: int | None = None,
        tile: tuple[int, int, int] | None = None,
    ) -> None:
        """Copy the network to the devices.

        Args:
            drivers: the devices.
            batch_shots: by default 1,024, or fewer where they are large.
            tile: blocks (t, i, j) of a tile's core; by default as many as are bounded by memory.

        Raises:
            ValueError: GPUs do not compute in this precision.
            DeviceError: a device fails.
        """
        self.precision: Precision = precision
        layout = problem.layout
        shape = tuple(n // 2 for n in layout.shape)
        size = tile or _tile_size(shape)
        blocks = min(math.prod(shape), math.prod(size))
        self.batch_shots = batch_shots or max(1, min(BATCH_SHOTS, _BLOCKS_PER_BATCH // blocks))
        self._num_moves = problem.moves.num_moves
        source = np.ascontiguousarray(np.moveaxis(NetworkInput(layout).source, -1, 0), dtype=np.int32)
        places = blocked_places(layout, problem.moves)
        self._pieces = [_Piece.of(tile, source, places) for tile in tiles(shape, size, halo_blocks(network))]
        self._num_detectors = layout.num_detectors
        bias = None
        if network.config.noise_conditioned:
            bias = noise_bias(network, blocked_noise_features(problem))
        self._placed = [PlacedNetwork(network, driver, precision=precision) for driver in drivers]
        fold = 2 // network.config.time_fold
        self._networks = [
            [placed.with_noise(None if bias is None else piece.cells(bias, fold)) for piece in self._pieces]
            for placed in self._placed
        ]
        self._engines: dict[Output, list[list[CudaEngine]]] = {}

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """The network's logits of all moves: float32 `(B, M)`."""
        logits = np.empty((len(packed), self._num_moves), dtype=np.float32)
        for part, found in self.batches(packed):
            logits[part] = found.float32() if isinstance(found, Int8Logits) else found
        return logits

    def batches(self, packed: np.ndarray) -> Iterator[tuple[slice, Logits]]:
        """Batch by batch the logits of all moves, `(B, M)`, which are the caller's until the next batch.

        While the caller is busy with a batch, devices compute the next ones.

        Raises:
            DeviceError: a device fails.
        """
        output = self._placed[0].output
        for part, results in self._run(self._engines_for(output), packed):
            values = self._joined(results)
            yield part, values if output.scale is None else Int8Logits(values, LOGIT_STEP)

    @property
    def corrects(self) -> bool:
        """Whether devices can decide which moves to commit: each sees whole shots."""
        return len(self._pieces) == 1

    def corrections(
        self, packed: np.ndarray, output: Corrections
    ) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """Batch by batch what devices made of the logits; see `Corrections`. As `batches`.

        Raises:
            ValueError: shots are cut into tiles.
        """
        if not self.corrects:
            raise ValueError(f"shots are cut into {len(self._pieces)} tiles; no device sees a whole one")
        for part, (found,) in self._run(self._engines_for(output), packed):
            yield part, found

    def _run(
        self, engines: list[list[CudaEngine]], packed: np.ndarray
    ) -> Iterator[tuple[slice, list[dict[str, np.ndarray]]]]:
        """Parts of the shots with what became of all pieces of them."""
        shots = np.require(packed, requirements="C")
        every = [engine for of_device in engines for engine in of_device]
        parts = list(common_parts(every, len(shots)))
        count, devices = len(self._pieces), len(engines)
        jobs = (
            (engines[(k * count + piece) % devices][piece], shots[part])
            for k, part in enumerate(parts)
            for piece in range(count)
        )
        with closing(in_order(jobs)) as results:
            for part in parts:
                if count == 1:
                    yield part, [next(results)]
                else:  # each is lost when the next one is asked for
                    yield part, [_copied(next(results)) for _ in range(count)]

    def _joined(self, results: list[dict[str, np.ndarray]]) -> np.ndarray:
        """Logits `(B, M)` of those of the pieces."""
        if len(results) == 1:
            return results[0]["logits"]
        first = results[0]["logits"]
        joined = np.empty((len(first), self._num_moves), dtype=first.dtype)
        for piece, found in zip(self._pieces, results, strict=True):
            joined[:, piece.moves] = found["logits"]
        return joined

    def _engines_for(self, output: Output) -> list[list[CudaEngine]]:
        """Of every device those of every piece."""
        if output not in self._engines:
            self._engines[output] = [
                [
                    CudaEngine(
                        Program(
                            source=piece.source,
                            num_detectors=self._num_detectors,
                            network=network,
                            dtype=placed.dtype,
                            places=piece.places,
                            output=output,
                        ),
                        placed.driver,
                        batch_shots=self.batch_shots,
                    )
                    for piece, network in zip(self._pieces, networks, strict=True)
                ]
                for placed, networks in zip(self._placed, self._networks, strict=True)
            ]
        return self._engines[output]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A tile as a layout of its own.

    Attributes:
        tile: where it is in the volume.
        source: int32 `(8, t, i, j)`: detectors of its blocks, halo included.
        moves: int64 `(m,)`: the moves in its core.
        places: int64 `(m,)`: where they stand among its logits `(t, i, j, 24)`.
    """

    tile: Tile
    source: np.ndarray
    moves: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, tile: Tile, source_8tij: np.ndarray, places: np.ndarray) -> _Piece:
        """Cut it out of a volume with moves at `places`."""
        *blocks, channel = np.unravel_index(places, (*source_8tij.shape[1:], MOVE_CHANNELS))
        inside = np.ones(len(places), dtype=bool)
        for at, core in zip(blocks, tile.core, strict=True):
            inside &= (core.start <= at) & (at < core.stop)
        moves = np.flatnonzero(inside)
        source = np.ascontiguousarray(source_8tij[(slice(None), *tile.source)])
        local = [at[moves] - side.start for at, side in zip(blocks, tile.source, strict=True)]
        shape = (*source.shape[1:], MOVE_CHANNELS)
        return cls(tile, source, moves, np.ravel_multi_index((*local, channel[moves]), shape))

    def cells(self, volume_1CTij: np.ndarray, fold: int) -> np.ndarray:
        """Its part of a volume of cells, of which a block has `fold` in time."""
        time, rows, columns = self.tile.source
        return volume_1CTij[:, :, fold * time.start : fold * time.stop, rows, columns]


def _copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in arrays.items()}


def _tile_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """Blocks of a tile's core: all of a patch and as many layers as are allowed, or a part of one layer."""
    t, i, j = shape
    if i * j <= _BLOCKS_PER_TILE:
        return max(1, min(t, _BLOCKS_PER_TILE // (i * j))), i, j
    side = math.isqrt(_BLOCKS_PER_TILE)
    return 1, min(i, side), min(j, max(side, _BLOCKS_PER_TILE // i))
