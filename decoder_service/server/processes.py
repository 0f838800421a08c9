"""The server's other processes, as it sees them: started by the watcher, and told of when they end.

And the builds that workers ask for: a few at a time, each in a process of its own with a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from decoder_service.building import Build, BuildLimits
from decoder_service.server import control

ROOT = Path(__file__).parents[2]
log = logging.getLogger("decoder_service")
SERVED = 1.0
"""Seconds of service after which a process's end says nothing about the next one."""
FIRST, MOST = 0.25, 15.0
"""Seconds before the second of several starts in a row, doubled each time, and the longest wait."""
START_DEADLINE = 60.0
"""Seconds for a process to start, longer than it may be silent later: a watcher imports much."""
START = "import sys; sys.path.insert(0, sys.argv[1]); from decoder_service.server.watcher import main; main()"
"""Runs the watcher of this installation, wherever the server was started from."""


class Backoff:
    """How long the place of a process is left empty, so that one that cannot live is not all that is done."""

    def __init__(self) -> None:
        self._ends_in_a_row = 0

    def after(self, served: float) -> float:
        """Seconds to wait after one that served so long: the first end costs no time."""
        self._ends_in_a_row = 1 if served >= SERVED else self._ends_in_a_row + 1
        again = self._ends_in_a_row - 2
        return 0.0 if again < 0 else min(MOST, FIRST * 2.0 ** min(again, 32))


class Process:
    """One process; `ended` gets its exit code, or less the signal that ended it."""

    def __init__(self, number: int, kill: Callable[[int], None]) -> None:
        self.number = number
        self.pid = 0
        """Known once it has started."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._kill = kill

    def kill(self) -> None:
        """Ends it at once, if it is not over."""
        if not self.ended.done():
            self._kill(self.number)


def patience(deadline: float, *, started: bool) -> float:
    """Seconds that a process may be silent: `deadline` once it has started, and some more before."""
    return deadline if started else max(deadline, START_DEADLINE)


class Processes:
    """The watcher and all that it started.

    Args:
        metrics: folder in which processes keep their counters (prometheus-client's multiprocess mode).
        beat: seconds between two of the watcher's signs of life.
    """

    def __init__(self, metrics: Path, *, beat: float) -> None:
        self.heard = math.inf
        """When the watcher was started or gave a sign of life; infinite while there is none."""
        self._metrics = metrics
        self._beat = beat
        self._running: dict[int, Process] = {}
        self._last = 0
        self._lock = -1
        self._watcher: subprocess.Popen[bytes] | None = None
        self._backoff = Backoff()
        self._ready_since = math.inf
        self._restart: asyncio.TimerHandle | None = None
        """Of a watcher that is waited for."""

    def open(self, lock: int) -> None:
        """Starts the watcher; `lock` is the descriptor that holds the state folder, which all inherit.

        Raises OSError if it cannot be started.
        """
        self._lock = lock
        self._end, theirs = control.pair()
        # Its forks must be of one thread, and decoding has nothing that BLAS could share out.
        environment = ["OPENBLAS_NUM_THREADS=1", f"PROMETHEUS_MULTIPROC_DIR={self._metrics}"]
        arguments = [str(theirs.fileno()), str(os.getpid()), str(self._beat)]
        watcher = [sys.executable, "-c", START, str(ROOT), *arguments]
        with theirs:
            try:
                self._watcher = subprocess.Popen(
                    ["env", *environment, *watcher],
                    pass_fds=[theirs.fileno(), lock],
                    stdin=subprocess.DEVNULL,
                )
            except OSError:
                self._end.close()
                raise
        self._end.setblocking(False)
        self.heard, self._ready_since = time.monotonic(), math.inf
        asyncio.get_running_loop().add_reader(self._end, self._message)

    @property
    def pid(self) -> int:
        """Of the watcher."""
        assert self._watcher is not None
        return self._watcher.pid

    def start(self, message: Callable[[int], control.ToWatcher], descriptor: int) -> Process:
        """Starts what the message for a process of this number says; the descriptor is copied.

        Raises:
            OSError: the watcher is gone, or does not listen.
        """
        self._last += 1
        process = Process(self._last, self._kill)
        control.send(self._end, message(process.number), descriptors=[descriptor])
        self._running[process.number] = process
        return process

    def hangs(self, now: float, deadline: float) -> bool:
        """Whether the watcher was silent for longer than the deadline, or takes too long to start."""
        return now - self.heard > patience(deadline, started=self._ready_since < math.inf)

    def replace_watcher(self) -> None:
        """Ends the watcher, for another one to take its place."""
        assert self._watcher is not None
        self.heard = math.inf
        self._watcher.kill()

    def close(self) -> None:
        """Ends the watcher, and with it what is left."""
        if self._watcher is None:
            return
        if self._restart is not None:
            self._restart.cancel()
        if self._end.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._end)
            self._end.close()
        self._watcher.kill()
        self._watcher.wait()
        for process in self._running.values():
            if not process.ended.done():
                process.ended.set_result(-9)

    def _kill(self, number: int) -> None:
        try:
            control.send(self._end, control.Kill(number))
        except OSError as error:  # it ends with the watcher
            log.error("the watcher does not listen", extra={"error": str(error)})

    def _message(self) -> None:
        try:
            message, _ = control.receive(self._end, control.FromWatcher)
        except BlockingIOError:
            return
        if message is None:
            self._lost()
            return
        self.heard = time.monotonic()
        self._ready_since = min(self._ready_since, self.heard)
        if isinstance(message, control.Started):
            self._running[message.process].pid = message.pid
        elif isinstance(message, control.Ended):
            if message.error:
                log.error("process not started", extra={"error": message.error})
            process = self._running.pop(message.process)
            process.ended.set_result(message.status)

    def _lost(self) -> None:
        """All that the watcher started ends with it; another one takes its place."""
        assert self._watcher is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._end)
        self._end.close()
        code = self._watcher.wait()
        delay = self._backoff.after(time.monotonic() - self._ready_since)
        log.error("watcher lost", extra={"pid": self._watcher.pid, "exit_code": code, "restart_in": delay})
        running, self._running = self._running, {}
        self.heard = self._ready_since = math.inf
        if delay:
            self._restart = loop.call_later(delay, self._reopen)
        else:
            self._reopen()
        for process in running.values():
            process.ended.set_result(code)

    def _reopen(self) -> None:
        """Starts another watcher, later where there are as many processes or files as there may be."""
        try:
            self.open(self._lock)
        except OSError as error:
            delay = max(FIRST, self._backoff.after(0.0))
            log.error("watcher not started", extra={"error": str(error), "restart_in": delay})
            self._restart = asyncio.get_running_loop().call_later(delay, self._reopen)


class Builds:
    """Has tables built for whoever waits for them; equal ones once.

    Args:
        processes: start them.
        state: folder of the models and tables.
        limits: of each.
        at_once: how many run at a time.
    """

    def __init__(self, processes: Processes, *, state: str, limits: BuildLimits, at_once: int) -> None:
        self._processes = processes
        self._state = state
        self._limits = limits
        self._slots = asyncio.Semaphore(at_once)
        self._running: dict[str, asyncio.Task[str]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def run(self, build: Build) -> str:
        """Has tables built; why they cannot be, "" if they are there."""
        task = self._running.get(build.key)
        if task is None:
            task = self._running[build.key] = asyncio.create_task(self._run(build))
            task.add_done_callback(lambda _: self._running.pop(build.key, None))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Ends all."""
        for task in self._running.values():
            task.cancel()

    async def _run(self, build: Build) -> str:
        async with self._slots:
            ours, theirs = os.pipe()
            process: Process | None = None
            try:
                os.set_blocking(ours, False)
                process = self._processes.start(
                    lambda number: control.StartBuild(number, self._state, build, self._limits), theirs
                )
                return await self._outcome(build, process, ours)
            finally:
                if process is not None:
                    process.kill()
                os.close(theirs)
                os.close(ours)

    async def _outcome(self, build: Build, process: Process, pipe: int) -> str:
        limits = self._limits
        try:
            status = await asyncio.wait_for(asyncio.shield(process.ended), limits.seconds)
        except TimeoutError:
            status = -signal.SIGXCPU
        said = b""
        if status == 0:
            try:
                said = os.read(pipe, 1 << 16)
            except BlockingIOError:
                return ""
            error = said.decode(errors="replace")
        elif status in (-signal.SIGXCPU, -signal.SIGKILL):
            error = f"it takes longer than {limits.seconds:g} s to build, or more memory than there is"
        elif status == -signal.SIGXFSZ:
            error = f"its tables are larger than {limits.tables >> 20} MiB"
        else:
            what = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            error = f"the process that was to build it ended with {what}"
        if error:
            log.warning("build failed", extra={"model": build.options.model[:16], "reason": error[:200]})
        return error
