"""Waiting for due times, and what a timed loop must not meet."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

from decoder_service.scheduling import schedule

__all__ = ["LEAD_NS", "on_core", "undisturbed", "usual_spin_ns"]

LEAD_NS = 1_000_000
"""Between the start of a loop and its time 0, so that the first blocks are not late already."""
_WAKE_NS = 200_000
_ALWAYS_NS = 1_000_000_000


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
def on_core(core: int | None, *, realtime: bool) -> Iterator[None]:
    """Runs this thread on one core of the processor (any, if that is None), at real-time priority or not.

    Raises ValueError for a core that it may not use, and OSError for a priority that it may not have.
    """
    cores, scheduler, priority = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    if core is not None and core not in cores:
        raise ValueError(f"core={core} is none of those that this process may use: {sorted(cores)}")
    try:
        schedule(() if core is None else (core,), realtime=realtime)
        yield
    finally:
        os.sched_setscheduler(0, scheduler, priority)
        os.sched_setaffinity(0, cores)


def usual_spin_ns(*, realtime: bool = False) -> int:
    """How long before a due time to ask the clock again and again instead of sleeping.

    About what it takes to be woken; all the time at real-time priority, which is for who has a core to spare;
    nothing on a single core, which the decoder needs.
    """
    if realtime:
        return _ALWAYS_NS
    return _WAKE_NS if len(os.sched_getaffinity(0)) > 1 else 0
