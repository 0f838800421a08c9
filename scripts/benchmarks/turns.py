"""Calls that are timed one after another, in turns: whatever else the machine does hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["in_turns", "quartiles"]

T = TypeVar("T")


def in_turns(calls: Sequence[Callable[[], T]], *, first: int) -> tuple[list[float], list[T]]:
    """Seconds and results of all calls, in their order, whichever came first.

    Args:
        first: number of the call to begin with, modulo how many there are; the others follow in a ring.
    """
    seconds, results = [0.0] * len(calls), dict[int, T]()
    gc.collect()
    gc.disable()
    try:
        for k in np.roll(np.arange(len(calls)), -first).tolist():
            started = time.perf_counter()
            results[k] = calls[k]()
            seconds[k] = time.perf_counter() - started
    finally:
        gc.enable()
    return seconds, [results[k] for k in range(len(calls))]


def quartiles(values: Sequence[float] | np.ndarray) -> list[float]:
    """Lower quartile, median and upper quartile, to four places."""
    return [round(float(value), 4) for value in np.percentile(values, (25, 50, 75))]
