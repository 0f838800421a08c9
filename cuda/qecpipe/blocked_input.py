"""Bit-packed detections to the pre-decoder network's blocked input, on a GPU or on the CPU.

The network sees space-time in blocks of 2 x 2 x 2 voxels folded into channels. Shape letters:

    S shots   NB = ceil(n_detectors / 8) bytes   T, I, J blocks in time, row and column   C channels

Channel c = 4*dt + 2*di + dj (0..7) of block (t, i, j) is the detection bit at grid voxel
(2t+dt, 2i+di, 2j+dj), and channel 8 + c says whether a detector exists there. `source` (8, T, I, J)
holds the detector's index, or -1.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from cuda.qecpipe.device import DeviceStatus, cuda_status
from cuda.qecpipe.launch import KernelArgument, launch_kernel

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

ElementType = Literal["float32", "float16", "bfloat16", "uint8"]
SOURCE_FILE = "blocked_input.cu"
CHANNELS = 16
_THREADS = 256  # the kernel's __launch_bounds__
_MAX_BLOCKS = 1 << 16  # the kernel's loop covers what is left

# NumPy has no bfloat16: its bit patterns stand for it there.
_ONE: dict[ElementType, np.generic] = {
    "float32": np.float32(1),
    "float16": np.float16(1),
    "bfloat16": np.uint16(0x3F80),
    "uint8": np.uint8(1),
}


class DeviceUnavailableError(RuntimeError):
    """CUDA was asked for by name and cannot be used; the message says why."""


class BlockedInput:
    """Turns bit-packed detections into the network's input for one layout.

    Args:
        source: int32 (8, T, I, J), the detector at each channel and block, -1 for none.
        n_detectors: number of detectors a shot has.
        dtype: element type of the result, `"float32"`, `"float16"`, `"bfloat16"` or `"uint8"`.
        device: `"cuda"` (torch's current CUDA device), `"cpu"`, or `"auto"`: CUDA where it can be
            used, otherwise the CPU with the reason in this module's log.

    Raises:
        ValueError: an argument does not have this form; the message names the value.
        DeviceUnavailableError: `device="cuda"` and there is none to use.
    """

    def __init__(
        self,
        source: np.ndarray,
        n_detectors: int,
        dtype: ElementType = "float32",
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        _check_source(source, n_detectors)
        _check_dtype(dtype)
        import torch

        self.n_detectors = n_detectors
        self.dtype: ElementType = dtype
        self.device = _choose_device(device)
        self._source = np.array(source, order="C")
        self._source_on_device = torch.from_numpy(self._source).to(self.device)

    def __call__(self, packed: np.ndarray | torch.Tensor) -> torch.Tensor:
        """The blocked input of every shot.

        Args:
            packed: uint8 (S, NB), little-endian bits, a NumPy array or a torch tensor of any device.
                Bits past `n_detectors` are ignored.

        Returns:
            Tensor (S, T, I, J, 16) of `dtype` on `device`, contiguous; `x.permute(0, 4, 1, 2, 3)` is
            the (S, C, T, I, J) view that Conv3d takes in its `channels_last_3d` memory format. On CUDA
            the work is queued on torch's current stream, like any torch operation.

        Raises:
            ValueError: `packed` is not uint8, not two-dimensional, or NB does not fit.
            KernelBuildError: on CUDA, the kernel does not compile for the device.
        """
        _check_packed(packed, self.n_detectors)
        return self._by_reference(packed) if self.device.type == "cpu" else self._by_kernel(packed)

    def _by_reference(self, packed: np.ndarray | torch.Tensor) -> torch.Tensor:
        import torch

        rows = packed if isinstance(packed, np.ndarray) else packed.numpy(force=True)
        filled = blocked_input_reference(rows, self._source, n_detectors=self.n_detectors, dtype=self.dtype)
        if self.dtype == "bfloat16":
            return torch.from_numpy(filled.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(filled)

    def _by_kernel(self, packed: np.ndarray | torch.Tensor) -> torch.Tensor:
        import torch

        if isinstance(packed, np.ndarray):
            packed = torch.from_numpy(np.require(packed, requirements=["C", "W"]))
        packed = packed.to(self.device).contiguous()
        shape = (packed.shape[0], *self._source.shape[1:], CHANNELS)
        out = torch.empty(shape, dtype=getattr(torch, self.dtype), device=self.device)
        if out.numel() == 0:  # CUDA has no empty grid
            return out
        grid, arguments = launch_arguments(packed, self._source_on_device, out, n_detectors=self.n_detectors)
        entry = kernel_entry(self.dtype)
        launch_kernel(SOURCE_FILE, entry, device=self.device, grid=grid, block=_THREADS, arguments=arguments)
        return out


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
    grid = min(-(-shots * voxels // _THREADS), _MAX_BLOCKS)
    pointers = (packed.data_ptr(), source.data_ptr(), out.data_ptr())
    sizes = (np.int64(shots), np.int64(row_bytes), np.int64(voxels), np.int64(n_detectors))
    return grid, pointers + sizes


def _choose_device(asked: str) -> torch.device:
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={asked!r} is not one of 'auto', 'cpu', 'cuda'")
    if asked == "cpu":
        return torch.device("cpu")
    index = torch.cuda.current_device() if torch.cuda.is_available() else 0
    status: DeviceStatus = cuda_status(index)
    if status.usable:
        return torch.device("cuda", index)
    if asked == "cuda":
        raise DeviceUnavailableError(f"CUDA cannot be used: {status.reason}")
    # Without a driver nobody expects a GPU; with one, running on the CPU is a surprise.
    level = logging.WARNING if status.driver_found else logging.INFO
    logger.log(level, "blocked input runs on the CPU: %s", status.reason)
    return torch.device("cpu")


def _check_source(source: np.ndarray, n_detectors: int) -> None:
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


def _check_dtype(dtype: str) -> None:
    if dtype not in get_args(ElementType):
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(get_args(ElementType))}")


def _check_packed(packed: np.ndarray | torch.Tensor, n_detectors: int) -> None:
    dtype = str(packed.dtype).removeprefix("torch.")
    if dtype != "uint8":
        raise ValueError(f"packed detections must be uint8, not {dtype}; pack them with bitorder='little'")
    width = (n_detectors + 7) // 8
    if packed.ndim != 2 or packed.shape[1] != width:
        raise ValueError(
            f"packed detections must have shape (shots, {width}) for {n_detectors} detectors, "
            f"not {tuple(packed.shape)}"
        )
