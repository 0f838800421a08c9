"""Where a network runs, and with which settings of torch: nothing of the user's own is left changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from predecoder.inference.precision import Precision

if TYPE_CHECKING:
    import torch

__all__ = ["SMALL_WORK", "running", "select_device"]

SMALL_WORK = 1_000_000_000
"""Multiply-accumulates below which one thread runs a network: 15 to 50 ms of one core.

On an idle machine a second thread saves at most half of that. On a busy one every layer waits for the other
thread to be scheduled, several milliseconds each time. Medians of one shot of `accurate` on two cores that
twelve other processes shared: 16 ms with one thread and 110 ms with two at d = 5, 20 and 300 at d = 9, 28 and
1,240 at d = 13.
"""


def select_device(name: str = "auto") -> torch.device:
    """'cpu', 'cuda', or 'auto': CUDA where torch can use it, else the CPU.

    Raises:
        ValueError: an unknown name, or 'cuda' where torch finds no usable device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; use 'auto', 'cpu' or 'cuda'")
    import torch

    usable = torch.cuda.is_available()
    if name == "cuda" and not usable:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA support"
        raise ValueError(
            f"device 'cuda' is not usable: torch was built with {built} and finds no GPU; use 'auto'"
        )
    return torch.device("cuda" if usable and name != "cpu" else "cpu")


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
