"""int8 without a compiler: the arithmetic of `integer_network.cpp` on whole arrays, in the same bits.

Shape legend: B shots, M moves of `MoveSet`, T layers, (I, J) cells of 2 x 2 ancillas, C channels.
"""

from __future__ import annotations

import numpy as np

from predecoder.inference.precision import Precision
from predecoder.inference.quantized_tables import CHUNK, QuantizedTables
from predecoder.inference.table_layout import cells

__all__ = ["ReferenceQuantizedNetwork"]

_VALUES_PER_BATCH = 4_000_000
"""Activations of one layer of the network that are computed at a time, to bound memory."""
_LARGEST_HIDDEN = 127


class ReferenceQuantizedNetwork:
    """Logits of a quantized network by NumPy, some fifty times slower than in C++.

    The stream of activations has 16 bits, whose sums saturate; hidden activations have 7, weights 16 in the
    stencils and the head and 8 in the pointwise convolutions. Products that BLAS adds up are whole numbers
    below what its floating-point type holds exactly, so that the order of the sums does not matter.
    """

    lanes = 1
    precision: Precision = "int8"

    def __init__(self, tables: QuantizedTables) -> None:
        """Unpacks the tables, which are laid out for C++."""
        arrays, self._layout = tables.arrays, tables.layout
        self._first_layer_bias, self._position_bias = arrays["first_layer_bias"], arrays["position_bias"]
        self._kind, self._depthwise = arrays["kind"], arrays["depthwise"]
        self._embed, self._gain = arrays["embed"], arrays["gain"]
        self._pointwise_gain, self._pointwise_bias = arrays["pointwise_gain"], arrays["pointwise_bias"]
        self._pointwise = _untiled(arrays["pointwise"], np.int8).astype(np.float32)
        self._head = _untiled(arrays["head"], np.int16).astype(np.float64)
        self._head_scale, self._head_bias = arrays["head_scale"], arrays["head_bias"]
        self._detectors = cells(self._layout.detector_grid)
        kind, self._layer, i, j = np.unravel_index(tables.moves.positions, self._layout.move_mask.shape)
        self._row, self._column, self._output = i // 2, j // 2, 4 * kind + 2 * (i % 2) + j % 2

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """Logits float32 `(B, M)` of uint8 `(B, ceil(num_detectors / 8))`, LSB first."""
        size = max(1, _VALUES_PER_BATCH // self._first_layer_bias.size)
        starts = range(0, max(1, len(packed)), size)
        return np.concatenate([self._batch(packed[start : start + size]) for start in starts])

    def _batch(self, packed: np.ndarray) -> np.ndarray:
        stream = np.maximum(self._embedded(packed), 0)
        for block in range(len(self._pointwise)):
            total = self._pointwise_sums(block, self._hidden(block, stream))
            step = _saturated(_scaled(total, self._pointwise_gain[block]) + self._pointwise_bias[block])
            stream = _saturated(stream + step)
        sums = (stream @ self._head.T).astype(np.int32) + self._head_bias
        logits = sums.astype(np.float32) * self._head_scale
        return logits[:, self._layer, self._row, self._column, self._output]

    def _embedded(self, packed: np.ndarray) -> np.ndarray:
        """The first convolution: int32 `(B, T, I, J, C)`.

        It saturates after every detection, in the order in which C++ lists them: by row around the cell,
        then by detector of a cell, then by column.
        """
        bits = np.unpackbits(packed, axis=1, count=self._layout.num_detectors, bitorder="little")
        bits = np.hstack([bits, np.zeros((len(bits), 1), dtype=np.uint8)])
        fired = bits[:, self._detectors].astype(np.int32)  # (B, T, 4, I, J); detector -1 is the added zero
        x = np.broadcast_to(self._first_layer_bias, (len(packed), *self._first_layer_bias.shape)).astype(
            np.int32
        )
        for row in range(9):
            for detector in range(fired.shape[2]):
                for tap in range(3 * row, 3 * row + 3):
                    seen = _seen(fired[:, :, detector, :, :, None], tap)
                    x = _saturated(x + seen * self._embed[detector, tap])
        return x

    def _hidden(self, block: int, stream: np.ndarray) -> np.ndarray:
        """What the pointwise convolution gets, 0 to 127: int32 `(B, T, I, J, C)`."""
        total = np.zeros_like(stream)
        for tap in range(27):
            total += _scaled(_seen(stream, tap), self._depthwise[block, :, tap])
        bias = self._position_bias[block][self._kind].transpose(0, 1, 3, 2)
        return np.clip(_scaled(_saturated(total + bias), self._gain[block]), 0, _LARGEST_HIDDEN)

    def _pointwise_sums(self, block: int, hidden: np.ndarray) -> np.ndarray:
        total = np.zeros_like(hidden)
        for first in range(0, hidden.shape[-1], CHUNK):
            part = slice(first, first + CHUNK)
            sums = hidden[..., part].astype(np.float32) @ self._pointwise[block][:, part].T
            total = _saturated(total + sums.astype(np.int32))
        return total


def _seen(x: np.ndarray, tap: int) -> np.ndarray:
    """Return for each cell `(B, T, I, J, n)`, the one a stencil's tap sees; zeros outside the volume."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    dt, di, dj = tap // 9, tap // 3 % 3, tap % 3
    _, layers, rows, columns, _ = x.shape
    return padded[:, dt : dt + layers, di : di + rows, dj : dj + columns]


def _saturated(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _scaled(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """int32 of int32 and int16, both of 16 bits: (a b + 2^14) / 2^15, rounded down."""
    return (a * b.astype(np.int32) + 2**14) >> 15


def _untiled(table: np.ndarray, dtype: type[np.integer]) -> np.ndarray:
    """Pairs of weights in tiles `(..., o / tile, C / 2, tile)` as weights `(..., o, C)`."""
    *many, groups, pairs, tile = table.shape
    rows = np.ascontiguousarray(table.swapaxes(-2, -1)).reshape(*many, groups * tile, pairs, 1)
    return rows.view(dtype)[..., :2].reshape(*many, groups * tile, 2 * pairs)
