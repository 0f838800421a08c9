"""The builds that workers ask for: a few at a time, each in a process of its own with a deadline."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from decoder_service.server import control
from decoder_service.server.config import BuildLimits
from decoder_service.server.processes import Process, Processes

log = logging.getLogger("decoder_service")


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

    async def run(self, build: control.Build) -> str:
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

    async def _run(self, build: control.Build) -> str:
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

    async def _outcome(self, build: control.Build, process: Process, pipe: int) -> str:
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
            error = f"its tables are larger than {limits.bytes >> 20} MiB"
        else:
            what = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            error = f"the process that was to build it ended with {what}"
        if error:
            log.warning("build failed", extra={"model": build.options.model[:16], "reason": error[:200]})
        return error
