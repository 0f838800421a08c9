"""Workers as the server sees them: watched by their signs of life, and replaced when they end or hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
import traceback

from decoder_service.building import Build
from decoder_service.server import control
from decoder_service.server.config import WorkerConfig
from decoder_service.server.processes import FIRST, Backoff, Builds, Process, Processes, patience
from decoder_service.tasks import Tasks

log = logging.getLogger("decoder_service")
PATIENCE = 2.0
"""Seconds that a connection waits for a worker that is being started."""


class Worker:
    """One worker process and the server's side of its control pair."""

    def __init__(self, end: socket.socket, process: Process) -> None:
        self.end = end
        self.process = process
        self.heard = time.monotonic()
        """When it gave a sign of life."""
        self.ready_since = math.inf
        self.connections: dict[int, str] = {}
        """By number, their sessions."""
        self.sessions: set[str] = set()

    @property
    def ready(self) -> bool:
        """Whether it waits for connections."""
        return self.ready_since < math.inf

    def assign(self, connection: int, session: str, sock: socket.socket) -> None:
        """Hands over a copy of a connection. Raises OSError if the worker takes none."""
        control.send(self.end, control.AssignConnection(connection, session), descriptors=[sock.fileno()])
        self.connections[connection] = session
        self.sessions.add(session)


class Slot:
    """The place of a worker: one, or none while the next one waits to be started."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: Worker | None = None
        self.inherited: dict[str, float] = {}
        """Sessions of workers that were here, which may come back, and until when they are waited for."""
        self.backoff = Backoff()

    @property
    def sessions(self) -> set[str]:
        """Those that it has or may be asked for."""
        return {*self.inherited} if self.worker is None else {*self.worker.sessions, *self.inherited}

    def forget(self, now: float) -> None:
        """Waits no longer for sessions that nobody took up; their journals stay."""
        self.inherited = {name: until for name, until in self.inherited.items() if until > now}


class Supervisor:
    """Keeps `workers` slots filled.

    Args:
        config: of each worker.
        processes: start them.
        builds: have built what they ask for.
        deadline: seconds without a sign of life after which a worker, or the watcher, is ended.
    """

    def __init__(
        self, config: WorkerConfig, processes: Processes, builds: Builds, *, workers: int, deadline: float
    ) -> None:
        self.slots = [Slot(number) for number in range(workers)]
        self.restarts = 0
        self.restart_delay = 0.0
        """Seconds from the end of the last worker that ended to the start of a new one; 0 for most."""
        self._config = config
        self._processes = processes
        self._builds = builds
        self._deadline = deadline
        self._ending = False
        self._tasks = Tasks(log_fault)
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Starts the processes and waits until all slots are ready.

        Raises:
            RuntimeError: a worker ended before it was ready, or was ended: it hung, or the watcher.
        """
        for slot in self.slots:
            self._fill(slot)
        self._tasks.start(self._watch)
        while not all(slot.worker is not None and slot.worker.ready for slot in self.slots):
            if self.restarts:
                raise RuntimeError("a worker process ended while it started; its error is above")
            self._changed.clear()
            await self._changed.wait()

    @property
    def workers(self) -> list[Worker]:
        """Those that are there."""
        return [slot.worker for slot in self.slots if slot.worker is not None]

    @property
    def pids(self) -> list[int]:
        """Of the workers that wait for connections."""
        return [worker.process.pid for worker in self.workers if worker.ready]

    @property
    def connections(self) -> int:
        """That workers have."""
        return sum(len(worker.connections) for worker in self.workers)

    @property
    def sessions(self) -> set[str]:
        """That workers have, or may be asked for."""
        return {session for slot in self.slots for session in slot.sessions}

    def connections_of(self, session: str) -> int:
        """Those that a session has: more than one while it comes back."""
        return sum(list(worker.connections.values()).count(session) for worker in self.workers)

    async def assign(self, connection: int, session: str, sock: socket.socket) -> Worker:
        """Hands a connection to the worker that has the session, or to the one with the fewest.

        A worker that is being started is waited for. Raises OSError if there is none, or it takes nothing.
        """
        slot = next((slot for slot in self.slots if session in slot.sessions), None) or min(
            self.slots, key=lambda slot: (slot.worker is None, len(slot.sessions))
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while slot.worker is None or not slot.worker.ready:
                    self._changed.clear()
                    await self._changed.wait()
        if slot.worker is None or not slot.worker.ready:
            raise OSError("the worker of this session is being started")
        try:
            slot.worker.assign(connection, session, sock)
        except BlockingIOError:
            log.error("worker takes no connections", extra={"pid": slot.worker.process.pid})
            slot.worker.process.kill()
            raise
        slot.inherited.pop(session, None)
        return slot.worker

    async def drain(self, timeout: float) -> None:
        """Tells all workers to finish and waits for their ends; what remains is killed."""
        self._ending = True
        workers = self.workers
        for worker in workers:
            self._tell(worker, control.Drain())
        if workers:
            await asyncio.wait([worker.process.ended for worker in workers], timeout=timeout)
        for worker in workers:
            if not worker.process.ended.done():
                log.warning("worker did not end in time", extra={"pid": worker.process.pid})
                worker.process.kill()
                await worker.process.ended
        await self._tasks.cancel()

    def _fill(self, slot: Slot) -> None:
        """Starts a worker. Raises OSError if the watcher does not."""
        end, theirs = control.pair()
        end.setblocking(False)
        with theirs:
            try:
                process = self._processes.start(
                    lambda number: control.StartWorker(number, slot.number, self._config), theirs.fileno()
                )
            except OSError:
                end.close()
                raise
        worker = slot.worker = Worker(end, process)
        asyncio.get_running_loop().add_reader(end, self._message, worker)
        self._tasks.start(lambda: self._serve(slot, worker))

    async def _serve(self, slot: Slot, worker: Worker) -> None:
        """Waits for the worker's end, and fills its place again."""
        status = await worker.process.ended
        asyncio.get_running_loop().remove_reader(worker.end)
        worker.end.close()
        slot.worker = None
        slot.inherited |= dict.fromkeys(worker.sessions, time.monotonic() + self._config.linger)
        if self._ending:
            return
        self.restarts += 1
        self.restart_delay = delay = slot.backoff.after(time.monotonic() - worker.ready_since)
        log.error("worker lost", extra={"pid": worker.process.pid, "exit_code": status, "restart_in": delay})
        self._changed.set()
        while True:
            await asyncio.sleep(delay)
            if self._ending:
                return
            try:
                self._fill(slot)
                return
            except OSError as error:
                log.error("worker not started", extra={"error": str(error)})
                delay = max(delay, FIRST)

    async def _watch(self) -> None:
        """Ends workers that give no sign of life, and the watcher if it does not: stopped, or stuck."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._config.beat)
            now = time.monotonic()
            late = now - before > 4 * self._config.beat  # we did not hear them: stopped ourselves, or busy
            before = now
            for slot in self.slots:
                slot.forget(now)
            if late and self._processes.heard < now:
                self._processes.heard = now
            elif self._processes.hangs(now, self._deadline):
                log.error("watcher hangs", extra={"pid": self._processes.pid})
                self._processes.replace_watcher()
            for worker in self.workers:
                if late or not worker.process.pid:  # one not started yet ends with a watcher that hangs
                    worker.heard = now
                elif now - worker.heard > patience(self._deadline, started=worker.ready):
                    silent = round(now - worker.heard, 1)
                    log.error("worker hangs", extra={"pid": worker.process.pid, "silent_s": silent})
                    worker.heard = now
                    worker.process.kill()

    def _message(self, worker: Worker) -> None:
        try:
            message, _ = control.receive(worker.end, control.FromWorker)
        except BlockingIOError:
            return
        worker.heard = time.monotonic()
        if message is None:
            asyncio.get_running_loop().remove_reader(worker.end)
            worker.process.kill()
        elif isinstance(message, control.Ready):
            worker.ready_since = time.monotonic()
            self._changed.set()
        elif isinstance(message, control.Closed):
            worker.connections.pop(message.connection, None)
        elif isinstance(message, control.SessionEnded):
            if message.session not in worker.connections.values():  # else it begins again
                worker.sessions.discard(message.session)
        elif isinstance(message, control.Event):
            log.info(message.event, extra={"pid": worker.process.pid, **message.fields})
        elif isinstance(message, Build):
            self._tasks.start(lambda: self._build(worker, message))

    async def _build(self, worker: Worker, build: Build) -> None:
        try:
            error = await self._builds.run(build)
        except OSError as failure:
            error = f"no process for it can be started: {failure}"
        self._tell(worker, control.Built(build.key, error))

    def _tell(self, worker: Worker, message: control.ToWorker) -> None:
        try:
            control.send(worker.end, message)
        except OSError as error:  # it is over, or hangs: then what it waits for is of no use
            log.warning("worker does not listen", extra={"pid": worker.process.pid, "error": str(error)})
            worker.process.kill()


def log_fault(error: BaseException) -> None:
    """Writes an exception to the log that nobody reckoned with."""
    log.error("server fault", extra={"reason": "".join(traceback.format_exception(error))[-4000:]})
