"""GPUs: the only file that computes with torch.cuda, cuda.core or a driver.

`CudaDriver` keeps what `Driver` promises. `CpuDriver` (`cpu_driver.py`) keeps the same promises with a thread
of the host, so that what is built on them runs, and is tested, without a GPU.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from cuda.qecpipe.compile import KernelBuildError
from cuda.qecpipe.cubin_cache import cached_cubin
from cuda.qecpipe.device_protocol import (
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    GraphCaptureError,
)
from cuda.qecpipe.launch import Launch

if TYPE_CHECKING:
    import torch

__all__ = ["CudaDriver"]

_EAGER_RUNS = 3
"""Before a graph is captured: in the first runs libraries choose algorithms and make what they keep."""


class CudaDriver:
    """A GPU, by torch, which owns memory, streams and graphs, and by cuda.core for kernels; see `Driver`."""

    def __init__(self, index: int) -> None:
        import torch

        self.name, self.device = f"cuda:{index}", torch.device("cuda", index)

    def table(self, values: np.ndarray) -> torch.Tensor:
        import torch

        with self._doing("copy a table"):
            return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(self.device)

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        import torch

        with self._doing(f"allocate {tuple(shape)} of {dtype}"):
            return torch.zeros(tuple(shape), dtype=dtype, device=self.device)

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        import torch

        with self._doing(f"allocate {tuple(shape)} of {dtype}, page-locked"):
            return torch.zeros(tuple(shape), dtype=dtype, pin_memory=True)

    def stream(self) -> Any:
        import torch

        with self._doing("make a stream"):
            return torch.cuda.Stream(self.device)

    def event(self) -> Any:
        import torch

        return torch.cuda.Event()

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        import torch

        with torch.cuda.stream(stream):
            yield

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        with self._doing("copy"):
            target.copy_(source, non_blocking=True)

    def launch(self, launch: Launch) -> None:
        import torch
        from cuda.core import Device, LaunchConfig  # pyright: ignore[reportAttributeAccessIssue]
        from cuda.core import launch as start  # pyright: ignore[reportAttributeAccessIssue]

        with self._doing(f"run the kernel {launch.entry}"), torch.cuda.device(self.device):
            # Makes the device's primary context, which is also torch's, current in this thread.
            Device(self.device.index).set_current()
            kernel = _load_kernel(launch.source, launch.entry, device_index=self.device.index)
            stream = _TorchStream(torch.cuda.current_stream(self.device).cuda_stream)
            start(stream, LaunchConfig(grid=launch.grid, block=launch.block), kernel, *launch.arguments)

    def capture(self, work: Callable[[], None]) -> Any:
        import torch

        stream = torch.cuda.current_stream(self.device)
        with _fastest_algorithms():
            with self._doing("run what is to be captured", GraphCaptureError):
                for _ in range(_EAGER_RUNS):
                    work()
                stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with (
                self._doing("capture a graph", GraphCaptureError),
                torch.cuda.stream(
                    stream
                ),  # puts torch's current stream back, which a failed capture does not
                # Other threads may use the GPU meanwhile.
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
            ):
                work()
        return graph

    def replay(self, graph: Any) -> None:
        with self._doing("start a graph"):
            graph.replay()

    def record(self, event: Any) -> None:
        import torch

        with self._doing("record an event"):
            event.record(torch.cuda.current_stream(self.device))

    def wait(self, event: Any) -> None:
        with self._doing("compute"):
            event.synchronize()

    def allocations(self) -> int:
        import torch

        on_device = torch.cuda.memory_stats(self.device).get("allocation.all.allocated", 0)
        of_host = getattr(torch.cuda, "host_memory_stats", dict)()
        return int(on_device) + int(of_host.get("num_host_alloc", 0))

    def release(self) -> None:
        import torch

        gc.collect()  # errors keep what they came up in, in circles
        with self._doing("release memory"):
            torch.cuda.empty_cache()

    @contextmanager
    def _doing(self, what: str, otherwise: type[DeviceError] = DeviceLostError) -> Iterator[None]:
        """Turn what drivers and torch raise into this module's errors."""
        from cuda.core._utils.cuda_utils import CUDAError  # raised, but not exported

        try:
            yield
        except (DeviceError, KernelBuildError):
            raise
        except (RuntimeError, CUDAError) as error:
            self._fail(what, error, otherwise)

    def _fail(self, what: str, error: Exception, otherwise: type[DeviceError]) -> NoReturn:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if _is_of_memory(error):
            raise DeviceMemoryError(f"{self.name} has too little memory to {what}: {first}") from error
        if otherwise is DeviceLostError or _is_of_device(error):
            raise DeviceLostError(
                f"{self.name} failed to {what}: {first}; what was on it is lost, start this process again"
            ) from error
        raise otherwise(f"{self.name} failed to {what}: {first}") from error


@dataclass(frozen=True)
class _TorchStream:
    """A torch stream in the form cuda.core accepts (older torch streams lack the protocol)."""

    handle: int
    """`cudaStream_t`; torch's default stream is 0, here named by the constant CU_STREAM_LEGACY, since
    cuda-python can be set to read 0 as a per-thread stream instead."""

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.handle or 1)


@contextmanager
def _fastest_algorithms() -> Iterator[None]:
    """Let cuDNN time its algorithms in the runs before a capture, which then has the fastest."""
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory was short, or was when the error came up: a failed capture reports itself instead."""
    import torch

    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_of_device(error: Exception) -> bool:
    """Whether the device is to blame rather than what was captured."""
    told = str(error).lower()
    return any(
        sign in told
        for sign in ("illegal memory access", "launch failure", "device-side assert", "ecc error", "hardware")
    )


@functools.lru_cache(maxsize=256)
def _load_kernel(source: str, entry: str, *, device_index: int) -> Any:
    from cuda.core import Device, ObjectCode  # pyright: ignore[reportAttributeAccessIssue]

    cubin = cached_cubin(source, arch=f"sm_{Device(device_index).arch}")
    return ObjectCode.from_cubin(cubin, name=source).get_kernel(entry)
