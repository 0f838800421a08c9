"""What the engines in C++ share: tables of one layout, cut into tiles of time.

Shape legend: B shots, M moves of `MoveSet`, D detectors, T layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

import _qecpipe
from predecoder.inference.table_layout import cells, targets
from qec import DetectorLayout, MoveSet

__all__ = ["NativeVolumes"]

_OF_LAYERS = ("first_layer_bias", "kind", "source")
"""Tables that have an entry for every layer."""
_CELLS_PER_TILE = 65_536
"""A larger volume is cut along time and computed tile by tile, to bound memory."""

_Kernel = type[_qecpipe.Float32Batch] | type[_qecpipe.Int8Batch]


class _Tile(NamedTuple):
    """Layers whose logits are computed together.

    Attributes:
        engine: of these layers and those around that they depend on.
        moves: int64, numbers of the moves in these layers; None for all there are.
    """

    engine: _qecpipe.Float32Batch | _qecpipe.Int8Batch
    moves: np.ndarray | None


class NativeVolumes:
    """Runs a network that was put into tables on bit-packed shots of one layout.

    Attributes:
        lanes: shots that are computed side by side: fewer take as long.
        instruction_set: what it was chosen to run on, of `_qecpipe.instruction_sets()`.
    """

    lanes: int

    def __init__(
        self,
        kernel: _Kernel,
        tables: Mapping[str, np.ndarray],
        layout: DetectorLayout,
        moves: MoveSet,
        *,
        channels: int,
        reach: int,
        instruction_set: str = "",
    ) -> None:
        """Copies `tables`.

        Args:
            kernel: of the arithmetic.
            reach: layers on either side that a layer's logits depend on.
            instruction_set: one of `_qecpipe.instruction_sets()`; by default the best one here.

        Raises:
            ValueError: there is no such instruction set here, or the tables do not fit each other.
        """
        self._kernel, self._sizes = kernel, {"channels": channels, "num_detectors": layout.num_detectors}
        self._instruction_set = instruction_set
        grid, (_, rows, columns) = layout.detector_grid, (n // 2 for n in layout.shape)
        tables = {**tables, "source": cells(grid).transpose(0, 2, 1, 3).astype(np.int32)}
        table = targets(layout, moves)
        layers = max(1, _CELLS_PER_TILE // (rows * columns))
        self._tiles: list[_Tile] = []
        for start in range(0, len(grid), layers):
            stop = min(start + layers, len(grid))
            low, high = max(0, start - reach), min(len(grid), stop + reach)
            self._tiles.append(self._tile(tables, table, start, stop, low, high))
        self._num_moves = moves.num_moves
        self.instruction_set = self._tiles[0].engine.instruction_set

    @property
    def scratch_bytes(self) -> int:
        """Memory of every thread that calls."""
        return max(tile.engine.scratch_bytes for tile in self._tiles)

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Logits float32 `(B, M)` of uint8 `(B, ceil(D / 8))`, LSB first; threads may call at once.

        Raises:
            ValueError: the shots have another type or length.
        """
        if self._tiles[0].moves is None:
            return self._tiles[0].engine.run(packed)
        logits = np.empty((len(packed), self._num_moves), dtype=np.float32)
        for engine, moves in self._tiles:
            logits[:, moves] = engine.run(packed)
        return logits

    def _tile(
        self,
        tables: Mapping[str, np.ndarray],
        targets: np.ndarray,
        start: int,
        stop: int,
        low: int,
        high: int,
    ) -> _Tile:
        """Layers `start` to `stop`, computed from `low` to `high`."""
        inside = np.unique(targets[start:stop])
        inside = inside[inside >= 0]
        wanted = np.full(targets[low:high].shape, -1, dtype=np.int32)
        part = targets[start:stop]
        wanted[start - low : stop - low] = np.where(part >= 0, np.searchsorted(inside, part), -1)
        here = {**tables, **{name: tables[name][low:high] for name in _OF_LAYERS}, "targets": wanted}
        engine = self._kernel(
            here, num_moves=len(inside), instruction_set=self._instruction_set, **self._sizes
        )
        return _Tile(engine, None if stop - start == len(targets) else inside)
