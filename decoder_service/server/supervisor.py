"""Worker processes as the front end sees them: started, replaced when they die, told to drain."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from decoder_service.server import control
from decoder_service.server.backoff import Backoff
from decoder_service.server.config import WorkerConfig
from decoder_service.server.metrics import Snapshot

log = logging.getLogger("decoder_service")
MODULE = "decoder_service.server.worker"
_SPARE = -1
"""In place of the number of a slot."""


class WorkerHandle:
    """One worker process and the front end's side of its control pair."""

    def __init__(self, config: WorkerConfig, lock: int) -> None:
        self.end, theirs = control.pair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno(), lock],  # the state folder is in use as long as a worker lives
                stdin=subprocess.DEVNULL,
            )
        self.end.sendall(msgspec.msgpack.encode(config))
        self.ready = False
        self.lost = False
        """Dead, and its place is not filled yet."""
        self.since = math.inf
        """When it was ready, or, if that was later, took the place of another one."""
        self.snapshot: Snapshot | None = None
        """The last complete report."""
        self.report: Snapshot | None = None
        """One of which `missing` streams have not come yet."""
        self.missing = 0
        self.connections: set[int] = set()
        self.sessions: set[str] = set()
        self.inherited: set[str] = set()
        """Sessions of the worker whose place it took, which may come back."""
        self.registered: dict[tuple[str, int], bytes] = {}
        """Kinds of its streams, by session and number."""

    @property
    def known(self) -> set[str]:
        """Sessions that it has or may be asked for."""
        return self.sessions | self.inherited

    def assign(self, connection: int, session: str, sock: socket.socket) -> None:
        """Hands a connection over; the caller closes its own copy. Raises OSError if the worker is gone."""
        control.send(self.end, control.AssignConnection(connection, session), descriptor=sock.fileno())
        self.connections.add(connection)
        self.sessions.add(session)
        self.inherited.discard(session)


class Supervisor:
    """Keeps `workers` slots filled, with `spares` started processes ready to step in.

    Args:
        config: of each worker.
    """

    def __init__(self, config: WorkerConfig, *, workers: int, spares: int) -> None:
        self._config = config
        self._slots: list[WorkerHandle] = []
        self._spares: list[WorkerHandle] = []
        self._wanted = (workers, spares)
        self._lock = -1
        self._ending = False
        self._changed = asyncio.Event()
        self._backoff = Backoff()
        self.restarts = 0
        self.restart_delay = 0.0
        """Seconds from the death of the last worker that died to the start of a new one; 0 for most."""

    async def start(self, lock: int) -> None:
        """Starts the processes and waits until all slots are ready.

        Args:
            lock: descriptor that holds the state folder, which workers inherit.

        Raises:
            RuntimeError: a worker ended before it was ready.
        """
        self._lock = lock
        workers, spares = self._wanted
        self._slots = [self._spawn() for _ in range(workers)]
        self._spares = [self._spawn() for _ in range(spares)]
        while not all(handle.ready for handle in self._slots):
            if self.restarts:
                raise RuntimeError("a worker process ended while it started; its error is above")
            await self._wait()

    def choose(self, session: str) -> WorkerHandle:
        """The worker that has the session, or the one with the fewest."""
        for handle in self._slots:
            if session in handle.sessions or session in handle.inherited:
                return handle
        return min(self._slots, key=lambda handle: (handle.lost, len(handle.sessions)))

    @property
    def workers(self) -> list[WorkerHandle]:
        """Those that serve."""
        return self._slots

    async def drain(self, timeout: float) -> None:
        """Tells all workers to finish and waits for their ends; what remains is killed."""
        self._ending = True
        handles = [handle for handle in [*self._slots, *self._spares] if not handle.lost]
        for handle in handles:
            _try(lambda handle=handle: control.send(handle.end, control.Drain()))
        deadline = asyncio.get_running_loop().time() + timeout
        while any(handle.process.poll() is None for handle in handles):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)
        for handle in handles:
            if handle.process.poll() is None:
                log.warning("worker did not end in time", extra={"pid": handle.process.pid})
                handle.process.kill()
            handle.process.wait()
            asyncio.get_running_loop().remove_reader(handle.end)
            handle.end.close()

    def _spawn(self) -> WorkerHandle:
        handle = WorkerHandle(self._config, self._lock)
        asyncio.get_running_loop().add_reader(handle.end, self._message, handle)
        return handle

    def _message(self, handle: WorkerHandle) -> None:
        message = control.receive_as_front_end(handle.end)
        if message is None:
            self._lost(handle)
        elif isinstance(message, control.Ready):
            handle.ready, handle.since = True, time.monotonic()
            self._step_in()
            if handle in self._spares:
                self._prepare(handle, set(self._kinds()))
            self._changed.set()
        elif isinstance(message, control.Closed):
            handle.connections.discard(message.connection)
        elif isinstance(message, control.SessionEnded):
            handle.sessions.discard(message.session)
        elif isinstance(message, control.StreamRegistered):
            self._register(handle, message)
        elif isinstance(message, control.Event):
            log.info(message.event, extra={"pid": handle.process.pid, **message.fields})
        elif isinstance(message, control.Report):
            handle.report, handle.missing = message.snapshot, message.streams
        elif handle.report is not None:
            handle.report.streams.append(message.gauge)
            handle.missing -= 1
        if handle.report is not None and handle.missing <= 0:
            handle.snapshot, handle.report = handle.report, None

    def _lost(self, handle: WorkerHandle) -> None:
        asyncio.get_running_loop().remove_reader(handle.end)
        if self._ending:
            return
        handle.end.close()
        handle.process.kill()
        code = handle.process.wait()
        handle.lost, handle.snapshot = True, None
        handle.connections.clear()
        self.restarts += 1
        place = _SPARE if handle in self._spares else self._slots.index(handle)
        served = max(0.0, time.monotonic() - handle.since)
        self.restart_delay = delay = self._backoff.delay(place, served=served)
        log.error("worker lost", extra={"pid": handle.process.pid, "exit_code": code, "restart_in": delay})
        if place == _SPARE:
            self._spares.remove(handle)
        self._step_in()
        if delay:
            asyncio.get_running_loop().call_later(delay, self._refill, place)
        else:
            self._refill(place)
        self._changed.set()

    def _step_in(self) -> None:
        """Spares that are ready take the places of lost workers: only to start a process is to wait."""
        for place, handle in enumerate(self._slots):
            spare = next((spare for spare in self._spares if spare.ready), None)
            if handle.lost and spare is not None:
                self._spares.remove(spare)
                self._fill(place, spare)

    def _fill(self, place: int, handle: WorkerHandle) -> None:
        handle.inherited = self._slots[place].sessions
        if handle.ready:
            handle.since = time.monotonic()
        self._slots[place] = handle

    def _refill(self, place: int) -> None:
        """A spare, or a new process, for the slot whose worker died, if none stepped in; and a new spare."""
        if self._ending:
            return
        if place != _SPARE and self._slots[place].lost:
            self._fill(place, self._spares.pop(0) if self._spares else self._spawn())
        while len(self._spares) < self._wanted[1]:
            self._spares.append(self._spawn())
        self._changed.set()

    def _register(self, handle: WorkerHandle, message: control.StreamRegistered) -> None:
        where = (message.session, message.stream)
        key = message.key or handle.registered.get(where, b"")
        if message.key:
            handle.registered[where] = message.key
        else:
            handle.registered.pop(where, None)
        for spare in self._spares:
            if spare.ready and key:
                self._prepare(spare, {key})

    def _kinds(self) -> list[bytes]:
        return [key for handle in self._slots for key in handle.registered.values()]

    def _prepare(self, spare: WorkerHandle, keys: set[bytes]) -> None:
        kinds = self._kinds()
        for key in keys:
            message = control.KeepWarm(key, kinds.count(key))
            _try(lambda message=message: control.send(spare.end, message))

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _try(action: Callable[[], None]) -> None:
    try:
        action()
    except OSError as error:
        log.warning("worker does not listen", extra={"error": str(error)})
