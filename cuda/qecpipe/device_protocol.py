"""What is asked of a device: `Driver`, and how it fails.

A device works through streams: what is queued on one is done in that order, at the device's own pace, until
the host waits for an event recorded behind it. Memory that a queued operation reads or writes is the device's
until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cuda.qecpipe.launch import Launch

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceError", "DeviceLostError", "DeviceMemoryError", "Driver", "GraphCaptureError"]


class DeviceError(RuntimeError):
    """A device failed; the message names it and says what it was doing."""


class DeviceMemoryError(DeviceError):
    """A device, or the host's page-locked memory, does not hold what was asked for; less may fit."""


class GraphCaptureError(DeviceError):
    """What should run as one graph did not run, or could not be captured."""


class DeviceLostError(DeviceError):
    """A device does not answer any more; nothing that was on it can be used again in this process."""


class Driver(Protocol):
    """A device. Calls that queue something do so on the stream of the innermost `on`, and return at once.

    Raises:
        DeviceMemoryError, GraphCaptureError, DeviceLostError: as they say; every call may.
    """

    name: str
    device: torch.device

    def table(self, values: np.ndarray) -> torch.Tensor:
        """A copy of an array on the device, at once."""
        ...

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Zeros on the device, for the stream that they are asked for on."""
        ...

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Zeros in memory of the host that the device copies from and to by itself."""
        ...

    def stream(self) -> Any:
        """A queue of its own."""
        ...

    def event(self) -> Any:
        """A mark that can be put into a stream, again and again."""
        ...

    def on(self, stream: Any) -> AbstractContextManager[None]:
        """Queue on this stream, within."""
        ...

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Queue a copy between the device and pinned memory."""
        ...

    def launch(self, launch: Launch) -> None:
        """Queue a kernel. Memory behind its pointers has to stay until it has run."""
        ...

    def capture(self, work: Callable[[], None]) -> Any:
        """Run `work` a few times, then record what it queues as a graph. It may be run again: no results."""
        ...

    def replay(self, graph: Any) -> None:
        """Queue a captured graph."""
        ...

    def record(self, event: Any) -> None:
        """Queue the mark."""
        ...

    def wait(self, event: Any) -> None:
        """Wait until the device has passed the mark recorded last."""
        ...

    def allocations(self) -> int:
        """How often memory was asked for so far, on the device and pinned."""
        ...

    def release(self) -> None:
        """Give back memory that is kept for later."""
        ...
