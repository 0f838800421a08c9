"""Start a kernel of this package on a torch device, on torch's current stream."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cuda.qecpipe.compile import compile_cubin

if TYPE_CHECKING:
    import torch
    from cuda.core import Kernel  # pyright: ignore[reportAttributeAccessIssue]

KernelArgument = int | np.int64 | np.float32
"""What a kernel is given: a Python int is passed as a pointer, the others as the numbers they are."""


@dataclass(frozen=True)
class _TorchStream:
    """A torch stream in the form cuda.core accepts (older torch streams lack the protocol)."""

    handle: int
    """`cudaStream_t`; torch's default stream is 0, here named by the constant CU_STREAM_LEGACY, since
    cuda-python can be set to read 0 as a per-thread stream instead."""

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.handle or 1)


def launch_kernel(
    source: str,
    entry: str,
    *,
    device: torch.device,
    grid: int,
    block: int,
    arguments: tuple[KernelArgument, ...],
) -> None:
    """Queue `entry` of `kernels/<source>` on torch's current stream of `device`, and return at once.

    Memory behind the pointers must belong to torch tensors of that device, allocated or last used on
    the same stream; then torch's allocator keeps it valid until the kernel has run.

    Raises:
        ValueError: `device` carries no index, or `grid` or `block` is not positive.
        KernelBuildError: the source does not compile for the device.
    """
    if device.type != "cuda" or device.index is None:
        raise ValueError(f"device must name a CUDA device with its index, such as cuda:0, not {device}")
    if grid < 1 or block < 1:
        raise ValueError(f"a launch needs at least one block and one thread, not {grid=} {block=}")
    import torch
    from cuda.core import Device, LaunchConfig, launch  # pyright: ignore[reportAttributeAccessIssue]

    with torch.cuda.device(device):
        # Makes the device's primary context, which is also torch's, current in this thread.
        Device(device.index).set_current()
        kernel = _load_kernel(source, entry, device_index=device.index)
        stream = _TorchStream(torch.cuda.current_stream(device).cuda_stream)
        launch(stream, LaunchConfig(grid=grid, block=block), kernel, *arguments)


@functools.lru_cache(maxsize=256)
def _load_kernel(source: str, entry: str, *, device_index: int) -> Kernel:
    from cuda.core import Device, ObjectCode  # pyright: ignore[reportAttributeAccessIssue]

    cubin = compile_cubin(source, arch=f"sm_{Device(device_index).arch}")
    return ObjectCode.from_cubin(cubin, name=source).get_kernel(entry)
