"""What the engines in C++ share: tables handed over by address, tiles of time, scratch memory by thread.

Shape legend: B shots, M moves of `MoveSet`, D detectors, T layers.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from predecoder.inference.table_layout import cells, targets
from predecoder.native import load_library
from predecoder.native.arrays import address, checked
from qec import DetectorLayout, MoveSet

__all__ = ["NativeVolumes", "struct_of"]

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
_SIZES = ("channels", "blocks", "layers", "rows", "columns", "kinds")
_OF_LAYERS = ("first_layer_bias", "kind", "source")
"""Tables that have an entry for every layer."""
_ALIGNMENT = 64
_CELLS_PER_TILE = 65_536
"""A larger volume is cut along time and computed tile by tile, to bound memory."""


def struct_of(*tables: str) -> type[ctypes.Structure]:
    """Return the C struct that an engine takes: `Sizes` of engine.h and the addresses of its tables."""
    fields = [
        *((name, ctypes.c_int32) for name in _SIZES),
        *((name, _POINTER) for name in ("kind", "source", "targets")),
        ("moves", _SIZE),
        *((name, _POINTER) for name in tables),
    ]
    return type("Struct", (ctypes.Structure,), {"_fields_": fields})


class _Tile(NamedTuple):
    """Layers whose logits are computed together.

    Attributes:
        struct: of these layers and those around that they depend on.
        moves: int64, numbers of the moves in these layers; None for all there are.
    """

    struct: ctypes.Structure
    moves: np.ndarray | None


class NativeVolumes:
    """Runs a network that was put into tables on bit-packed shots of one layout.

    Attributes:
        lanes: shots that are computed side by side: fewer take as long.
    """

    lanes: int

    def __init__(
        self,
        name: str,
        struct: type[ctypes.Structure],
        tables: Mapping[str, np.ndarray],
        layout: DetectorLayout,
        moves: MoveSet,
        *,
        channels: int,
        reach: int,
    ) -> None:
        """Keeps `tables`.

        Args:
            name: of the C++ source, and of its functions behind "qecpipe_".
            struct: what `struct_of` made for it.
            reach: layers on either side that a layer's logits depend on.

        Raises:
            NativeUnavailableError: see `load_library`.
        """
        library = load_library(name)
        scratch = getattr(library, f"qecpipe_{name}_scratch")
        scratch.restype, scratch.argtypes = _SIZE, [_POINTER]
        self._run = getattr(library, f"qecpipe_{name}")
        self._run.restype = None
        self._run.argtypes = [_POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER]
        self._struct, self._channels = struct, channels
        grid, (_, rows, columns) = layout.detector_grid, (n // 2 for n in layout.shape)
        tables = {**tables, "source": cells(grid).transpose(0, 2, 1, 3).astype(np.int32)}
        self._tables = {name: np.ascontiguousarray(table) for name, table in tables.items()}
        self._shape = rows, columns
        self._targets: list[np.ndarray] = []
        table = targets(layout, moves)
        layers = max(1, _CELLS_PER_TILE // (rows * columns))
        self._tiles: list[_Tile] = []
        for start in range(0, len(grid), layers):
            stop = min(start + layers, len(grid))
            low, high = max(0, start - reach), min(len(grid), stop + reach)
            self._tiles.append(self._tile(table, start, stop, low, high))
        self._scratch_bytes = max(scratch(ctypes.byref(tile.struct)) for tile in self._tiles)
        self._local = threading.local()
        self._num_moves, self._num_detectors = moves.num_moves, layout.num_detectors

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Logits float32 `(B, M)` of uint8 `(B, ceil(D / 8))`, LSB first; threads may call at once."""
        packed = checked(packed, np.uint8, (len(packed), -(-self._num_detectors // 8)))
        logits = np.empty((len(packed), self._num_moves), dtype=np.float32)
        for struct, moves in self._tiles:
            part = logits if moves is None else np.empty((len(packed), len(moves)), dtype=np.float32)
            self._run(
                ctypes.byref(struct),
                *(address(packed), packed.shape[1], len(packed)),
                *(address(part), self._scratch()),
            )
            if moves is not None:
                logits[:, moves] = part
        return logits

    def _tile(self, targets: np.ndarray, start: int, stop: int, low: int, high: int) -> _Tile:
        """Layers `start` to `stop`, computed from `low` to `high`."""
        inside = np.unique(targets[start:stop])
        inside = inside[inside >= 0]
        wanted = np.full(targets[low:high].shape, -1, dtype=np.int32)
        part = targets[start:stop]
        wanted[start - low : stop - low] = np.where(part >= 0, np.searchsorted(inside, part), -1)
        self._targets.append(wanted)
        tables = self._tables | {name: self._tables[name][low:] for name in _OF_LAYERS} | {"targets": wanted}
        biases = tables["position_bias"]
        sizes = (self._channels, len(biases), high - low, *self._shape, len(biases[0]))
        values: dict[str, Any] = dict(zip(_SIZES, sizes, strict=True))
        values |= {name: address(table) for name, table in tables.items()}
        whole = stop - start == len(targets)
        return _Tile(self._struct(**values, moves=len(inside)), None if whole else inside)

    def _scratch(self) -> int:
        """Address of this thread's scratch memory."""
        if not hasattr(self._local, "scratch"):
            self._local.scratch = np.empty(self._scratch_bytes + _ALIGNMENT, dtype=np.uint8)
        start = address(self._local.scratch)
        return start + -start % _ALIGNMENT
