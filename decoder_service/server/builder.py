"""Slow work beside the loop: one thread, and a pipe that wakes the loop when something is done."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

Done = Callable[[Any, BaseException | None], None]


class Builder:
    """Runs functions one after another in a thread; `collect` hands their results over in the loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="builder")
        self._finished: deque[tuple[Future[Any], Done]] = deque()
        self.wake, self._waker = os.pipe()
        os.set_blocking(self.wake, False)
        self.jobs = 0

    def later(self, job: Callable[[], Any], done: Done) -> None:
        """Runs `job` in the thread; `done(result, error)` is called by `collect`."""
        self.jobs += 1
        future = self._pool.submit(job)
        future.add_done_callback(lambda ended: self._end(ended, done))

    def collect(self) -> None:
        """Calls `done` of the jobs that ended. To be called when `wake` is readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)
        while self._finished:
            future, done = self._finished.popleft()
            self.jobs -= 1
            error = future.exception()
            done(None if error is not None else future.result(), error)

    def close(self) -> None:
        """Drops what has not begun and waits for what has."""
        self._pool.shutdown(cancel_futures=True)
        os.close(self.wake)
        os.close(self._waker)

    def _end(self, future: Future[Any], done: Done) -> None:
        self._finished.append((future, done))
        os.write(self._waker, b"\0")
