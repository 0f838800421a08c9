"""Tasks of an event loop, held until they are done; some of them in lines, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from weakref import WeakValueDictionary

__all__ = ["Tasks"]

Job = Callable[[], Coroutine[None, None, None]]


class Tasks:
    """Tasks of the running loop; those of one line run one after the other, in the order of their start.

    Args:
        fault: is told of an exception that a task ends with.
    """

    def __init__(self, fault: Callable[[BaseException], None]) -> None:
        self._fault = fault
        self._running: set[asyncio.Task[None]] = set()
        self._lines: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        """The lock of each line that a task is in."""

    def start(self, job: Job, *, line: Hashable = None) -> asyncio.Task[None]:
        """Runs it; in a line, once those before it are done."""
        if line is None:
            coroutine = job()
        else:
            lock = self._lines.setdefault(line, asyncio.Lock())
            coroutine = self._in_line(lock, job)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def cancel(self) -> None:
        """Ends all, and waits until they are."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _in_line(self, lock: asyncio.Lock, job: Job) -> None:
        async with lock:
            await job()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault(error)
