"""Bit-packed detections to the pre-decoder network's blocked input, by the kernel `blocked_input`.

The network sees space-time in blocks of 2 x 2 x 2 voxels folded into channels. Shape letters:

    S shots   NB = ceil(n_detectors / 8) bytes   T, I, J blocks in time, row and column   C channels

Channel c = 4*dt + 2*di + dj (0..7) of block (t, i, j) is the detection bit at grid voxel
(2t+dt, 2i+di, 2j+dj), and channel 8 + c says whether a detector exists there. `source` (8, T, I, J)
holds the detector's index, or -1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from cuda.qecpipe.launch import KernelArgument

if TYPE_CHECKING:
    import torch

ElementType = Literal["float32", "float16", "bfloat16", "uint8"]
SOURCE_FILE = "blocked_input.cu"
CHANNELS = 16
BLOCK = 256  # the kernel's __launch_bounds__
_MAX_BLOCKS = 1 << 16  # the kernel's loop covers what is left

# NumPy has no bfloat16: its bit patterns stand for it there.
_ONE: dict[ElementType, np.generic] = {
    "float32": np.float32(1),
    "float16": np.float16(1),
    "bfloat16": np.uint16(0x3F80),
    "uint8": np.uint8(1),
}


def blocked_input_reference(
    packed: np.ndarray, source: np.ndarray, *, n_detectors: int, dtype: ElementType
) -> np.ndarray:
    """The definition in NumPy: (S, T, I, J, 16) from uint8 `packed` (S, NB), int32 `source` (8, T, I, J).

    The kernel agrees with it bit for bit. `"bfloat16"` comes as uint16 bit patterns.
    """
    bits = np.unpackbits(packed, axis=1, count=n_detectors, bitorder="little")
    bits = np.pad(bits, ((0, 0), (0, 1)))  # a last bit of 0, which index -1 takes
    source_TIJC = np.moveaxis(source, 0, -1)
    channels = np.empty((len(packed), *source.shape[1:], CHANNELS), dtype=np.uint8)
    channels[..., :8] = bits[:, source_TIJC]
    channels[..., 8:] = source_TIJC >= 0
    one = _ONE[dtype]
    return np.multiply(channels, one, dtype=one.dtype)


def kernel_entry(dtype: ElementType) -> str:
    """Name of the kernel in `blocked_input.cu` that writes this element type."""
    return f"blocked_input_{dtype}"


def launch_arguments(
    packed: torch.Tensor, source: torch.Tensor, out: torch.Tensor, *, n_detectors: int
) -> tuple[int, tuple[KernelArgument, ...]]:
    """Grid size, for blocks of 256 threads, and the kernel's arguments in the order of its signature.

    All three tensors are contiguous and on one device: uint8 (S, NB), int32 (8, T, I, J), and the
    result (S, T, I, J, 16), which is 16-byte aligned as torch's own allocations are.
    """
    shots, row_bytes = packed.shape
    voxels = source[0].numel()
    grid = min(-(-shots * voxels // BLOCK), _MAX_BLOCKS)
    pointers = (packed.data_ptr(), source.data_ptr(), out.data_ptr())
    sizes = (np.int64(shots), np.int64(row_bytes), np.int64(voxels), np.int64(n_detectors))
    return grid, pointers + sizes


def check_source(source: np.ndarray, n_detectors: int) -> None:
    """Raise a ValueError that names what is wrong unless `source` is int32 (8, T, I, J) of such detectors."""
    if n_detectors < 1:
        raise ValueError(f"n_detectors must be at least 1, not {n_detectors}")
    if source.dtype != np.int32:
        raise ValueError(f"source must be int32, not {source.dtype}")
    if source.ndim != 4 or source.shape[0] != 8 or 0 in source.shape:
        raise ValueError(
            f"source must have shape (8, T, I, J) with at least one block a side, not {source.shape}"
        )
    wrong = np.argwhere((source < -1) | (source >= n_detectors))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"source{list(where)} = {source[where]} is neither -1 nor a detector 0..{n_detectors - 1}"
        )
