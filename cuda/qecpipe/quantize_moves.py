"""The network's output to int8 logits of the moves that exist, in the matcher's order.

Shape letters: S shots, M moves, V elements of the network's output for one shot.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from cuda.qecpipe.launch import KernelArgument

__all__ = ["LogitType", "quantize_moves_arguments", "quantize_moves_entry", "quantize_moves_reference"]

LogitType = Literal["float32", "float16", "bfloat16"]
SOURCE_FILE = "quantize_moves.cu"
_THREADS = 256  # the kernel's __launch_bounds__
_MAX_BLOCKS = 1 << 16  # the kernel's loop covers what is left
_LARGEST = 127


def quantize_moves_entry(dtype: LogitType) -> str:
    """Name of the kernel in `quantize_moves.cu` that reads this element type."""
    return f"quantize_moves_{dtype}"


def quantize_moves_reference(logits: np.ndarray, places: np.ndarray, *, scale: float) -> np.ndarray:
    """The definition in NumPy; the kernel agrees with it bit for bit.

    Args:
        logits: float32 `(S, V)`; of another type, the same values.
        places: int `(M,)`: where each move stands in a shot's output.
        scale: of a logit, to units of the result.

    Returns:
        int8 `(S, M)`: the nearest whole number, halves to even, from -127 to 127, and 0 for NaN.
    """
    product = logits[:, places].astype(np.float32) * np.float32(scale)
    return np.nan_to_num(np.rint(np.clip(product, -_LARGEST, _LARGEST)), nan=0).astype(np.int8)


def quantize_moves_arguments(
    *, logits: int, places: int, out: int, shots: int, volume: int, moves: int, scale: float
) -> tuple[int, int, tuple[KernelArgument, ...]]:
    """Grid, block and the kernel's arguments in the order of its signature.

    Args:
        logits: address of the network's output `(S, V)`.
        places: address of int32 `(M,)`.
        out: address of int8 `(S, M)`, on 4 bytes, with room for a multiple of 4 bytes.

    Raises:
        ValueError: there is nothing to do, or `scale` is not a positive number.
    """
    if min(shots, moves) < 1 or not 0 < scale < np.inf:
        raise ValueError(
            f"a launch needs a shot, a move and a positive scale, not {shots=} {moves=} {scale=}"
        )
    grid = min(-(-shots * moves // (4 * _THREADS)), _MAX_BLOCKS)
    sizes = (np.int64(shots), np.int64(volume), np.int64(moves), np.float32(scale))
    return grid, _THREADS, (logits, places, out, *sizes)
