"""A device that is a thread of the host: what runs on a GPU, by the same calls, on a CPU.

Kernels are the same sources compiled for the CPU, the network is torch's. What is queued runs later and in
order, on a thread of the device, so that a host that does not wait where it must is found out as on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cuda.qecpipe.launch import Launch
from cuda.qecpipe.launch_on_cpu import launch_on_cpu

if TYPE_CHECKING:
    import torch

__all__ = ["CpuDriver"]


class _Event:
    """The mark in the queue that was recorded last."""

    passed: Future[None] | None = None


class CpuDriver:
    """A thread of the host as a device; see `Driver`. Its streams share that thread."""

    def __init__(self, index: int = 0) -> None:
        import torch

        self.name, self.device = f"cpu:{index}", torch.device("cpu")
        self._queue = ThreadPoolExecutor(1, thread_name_prefix=f"qecpipe-{self.name}")
        self._failed: Exception | None = None
        self._here = threading.local()
        self._allocations = 0

    def table(self, values: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.array(values, order="C"))

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        import torch

        self._allocations += 1
        return torch.zeros(tuple(shape), dtype=dtype)

    pinned = memory

    def stream(self) -> Any:
        return object()

    def event(self) -> Any:
        return _Event()

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        del stream
        yield

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self._put(lambda: target.copy_(source))

    def launch(self, launch: Launch) -> None:
        def run() -> None:
            launch_on_cpu(launch.entry, grid=launch.grid, block=launch.block, arguments=launch.arguments)

        self._put(run)

    def capture(self, work: Callable[[], None]) -> Any:
        self._put(work)
        self.wait(self._marked(_Event()))
        return work

    def replay(self, graph: Any) -> None:
        self._put(graph)

    def record(self, event: Any) -> None:
        self._marked(event)

    def wait(self, event: Any) -> None:
        if event.passed is not None:
            event.passed.result()
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def allocations(self) -> int:
        return self._allocations

    def release(self) -> None:
        pass

    def _marked(self, event: _Event) -> _Event:
        event.passed = self._queue.submit(lambda: None)
        return event

    def _put(self, work: Callable[[], Any]) -> None:
        """Queue work; what a graph queues while it runs is a part of it, and done at once."""
        if getattr(self._here, "working", False):
            work()
        else:
            self._queue.submit(self._run, work)

    def _run(self, work: Callable[[], Any]) -> None:
        self._here.working = True
        try:
            if self._failed is None:
                work()
        except Exception as error:  # noqa: BLE001  a device reports what failed to whoever waits
            self._failed = error
        finally:
            self._here.working = False
