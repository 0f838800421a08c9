"""Waiting for due times, and what a timed loop must not meet."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

__all__ = ["LEAD_NS", "on_core", "undisturbed", "usual_spin_ns"]

LEAD_NS = 1_000_000
"""Between the start of a loop and its time 0, so that the first blocks are not late already."""
_WAKE_NS = 200_000


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collection: a full one takes longer than thousands of rounds."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Runs this thread on one core of the processor, or wherever it may, if that is None.

    Raises ValueError for a core that it may not use.
    """
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    if core not in before:
        raise ValueError(f"core={core} is none of those that this process may use: {sorted(before)}")
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def usual_spin_ns() -> int:
    """How long before a due time to ask the clock again and again instead of sleeping.

    About what it takes to be woken; nothing on a single core, which the decoder needs.
    """
    return _WAKE_NS if len(os.sched_getaffinity(0)) > 1 else 0
