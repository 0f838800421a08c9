"""Where and how urgently the data plane's threads run."""

from __future__ import annotations

import os
from collections.abc import Collection

_PRIORITY = 1


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
