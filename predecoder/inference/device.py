"""Where a network runs, and with which settings of torch: nothing of the user's own is left changed."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cuda.qecpipe import CudaDriver, DeviceStatus, cuda_status, torch_status
from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    import torch

__all__ = ["SMALL_WORK", "check_device", "cuda_drivers", "running", "select_device", "why_not_cuda"]

logger = logging.getLogger(__name__)

_DEVICE = re.compile(r"auto|cpu|cuda(:(?P<index>[0-9]+))?")

SMALL_WORK = 1_000_000_000
"""Multiply-accumulates below which one thread runs a network: 15 to 50 ms of one core.

On an idle machine a second thread saves at most half of that. On a busy one every layer waits for the other
thread to be scheduled, several milliseconds each time. Medians of one shot of `accurate` on two cores that
twelve other processes shared: 16 ms with one thread and 110 ms with two at d = 5, 20 and 300 at d = 9, 28 and
1,240 at d = 13.
"""


def select_device(name: str = "auto") -> torch.device:
    """The device of a name: 'cpu'; 'cuda:1', a GPU; 'cuda', all of them, or for training the current one.

    'auto' is 'cuda' where the first GPU can be used, and otherwise the CPU: the log says why.

    Raises:
        ValueError: an unknown name, or a GPU that cannot be used; the message says what is missing.
    """
    found = _DEVICE.fullmatch(name)
    if not found:
        raise ValueError(f"device {name!r} is unknown; use 'auto', 'cpu', 'cuda' or one GPU: 'cuda:0'")
    import torch

    if name == "cpu":
        return torch.device("cpu")
    status = _status(int(found["index"] or 0), needed=name != "auto")
    if status.usable:
        return torch.device("cuda" if name == "auto" else name)
    if name != "auto":
        raise ValueError(f"device {name!r} is not usable: {status.reason}; use 'auto' or 'cpu'")
    _tell_of_fallback(status)
    return torch.device("cpu")


def check_device(name: str) -> None:
    """Refuse what `select_device` does, also where no network will run; loads torch for a GPU only."""
    if name not in ("auto", "cpu"):
        select_device(name)


def why_not_cuda() -> str | None:
    """Why 'auto' is the CPU, one sentence without a full stop; None where it is a GPU."""
    return _status(0, needed=False).reason


def cuda_drivers(device: torch.device) -> list[CudaDriver]:
    """The GPU that a device names, or all of them."""
    import torch

    indices = range(torch.cuda.device_count()) if device.index is None else [device.index]
    return [CudaDriver(index) for index in indices]


@functools.cache
def _status(index: int, *, needed: bool) -> DeviceStatus:
    quick = None if needed else torch_status(index)
    return cuda_status(index) if quick is None or quick.usable else quick


@functools.cache
def _tell_of_fallback(status: DeviceStatus) -> None:
    # Without a driver nobody expects a GPU; with one, the CPU is a surprise.
    level = logging.WARNING if status.driver_found else logging.INFO
    logger.log(level, "device 'auto' is the CPU: %s", status.reason)


@contextmanager
def running(
    device: torch.device, precision: Precision, *, work: float, threads: int | None = None
) -> Iterator[None]:
    """Run a network without gradients in exactly this precision.

    Args:
        device: where its parameters are.
        precision: float32 or bfloat16; it holds whatever autocast or TF32 settings are around.
        work: multiply-accumulates of the run; below `SMALL_WORK` it gets one thread.
        threads: of torch, for larger work; by default those that torch has. Restored afterwards.
    """
    import torch

    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"),
        _exact_products(device),
        _threads(1 if work < SMALL_WORK else threads),
    ):
        yield


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """On GPUs torch rounds the factors of a float32 convolution to TF32 unless it is told not to."""
    if device.type != "cuda":
        yield
        return
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
