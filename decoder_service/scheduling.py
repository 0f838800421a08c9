"""Where and how urgently threads of the data plane, and the load on it, run."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["check_schedule", "running_share", "schedule"]

_PRIORITY = 1
_LIMIT = Path("/proc/sys/kernel")
_USUAL_LIMIT = 0.95
_MARGIN = 0.02


def schedule(cores: Collection[int], *, realtime: bool) -> None:
    """Has this thread run on these cores alone, and before all threads without a priority.

    Threads that it starts are not so urgent. Without cores it may be on any.

    Raises:
        OSError: it may not.
    """
    if cores:
        os.sched_setaffinity(0, cores)
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))


def check_schedule(cores: Collection[int], *, realtime: bool) -> None:
    """Whether `schedule` would do that.

    Raises:
        ValueError: it may not, and why.
    """
    usable = os.sched_getaffinity(0)
    if missing := set(cores) - usable:
        raise ValueError(f"cores {sorted(missing)} are none of those that may be used: {sorted(usable)}")
    if not realtime:
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        schedule((), realtime=True)
    except PermissionError as error:
        raise ValueError(
            "real-time priority is not permitted; run as root, or raise its limit to 1 "
            "(ulimit -r 1, LimitRTPRIO=1 of systemd)"
        ) from error
    os.sched_setscheduler(0, *before)


def running_share(*, realtime: bool) -> float:
    """Share of the time that a thread may run that asks again and again, for `_qecpipe.DutyCycle`.

    Of real-time priority that is a little less than the kernel's limit (`sched_rt_runtime_us` of
    `sched_rt_period_us`), at which it would stop the thread, or than the usual one where there is none: the
    kernel's own threads need some time too.
    """
    if not realtime:
        return 1.0
    limit = _USUAL_LIMIT
    try:
        runtime, period = (
            int((_LIMIT / f"sched_rt_{name}_us").read_text()) for name in ("runtime", "period")
        )
    except OSError:  # another kernel
        return limit - _MARGIN
    if 0 < runtime <= period:  # 0: such threads may not run at all, which `schedule` is told
        limit = min(limit, runtime / period)
    return max(limit - _MARGIN, limit / 2)
