"""A worker process: the sessions that it was handed, each served by a thread.

Frames go straight from the client's socket to the decoder and back: no other process is on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from decoder_service.protocol import (
    VERSION,
    ErrorCode,
    Frame,
    FrameType,
    Welcome,
    encode_frame,
    encode_message,
    error_frame,
)
from decoder_service.server import control
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.jobs import Jobs
from decoder_service.server.metrics import keep_counters, resident_bytes

REPORT = 1.0
"""Seconds from one status of the worker to the next."""
TOUCH = 60
"""Seconds from one `touch` of the models in use to the next."""
SWITCH_INTERVAL = 0.0002
"""Seconds that one thread may keep the interpreter from the others, if they want it."""


class Worker:
    """The sessions of this process, their connections, and the loop that looks after them."""

    def __init__(self, end: socket.socket, config: WorkerConfig, *, slot: int) -> None:
        self.config = config
        self._slot = slot
        self._end = end
        self._jobs = Jobs(config, self._tell)
        self._sessions: dict[str, ClientSession] = {}
        self._left: dict[int, asyncio.Event] = {}
        """By connection: its thread is at its end."""
        self._connections: dict[str, int] = {}
        """Connection of each session that is served."""
        self._draining = False
        self._untidy = ""
        """Why housekeeping failed the last time."""
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serves until the server is gone, or until drained."""
        self._end.setblocking(False)
        asyncio.get_running_loop().add_reader(self._end, self._controlled)
        self._jobs.tasks.start(self._beat)
        self._jobs.tasks.start(self._housekeep)
        self._tell(control.Ready())
        await self._over.wait()
        await self._jobs.tasks.cancel()
        await self._end_all()
        self._jobs.close()

    def _controlled(self) -> None:
        try:
            message, descriptors = control.receive(self._end, control.ToWorker)
        except BlockingIOError:
            return
        if isinstance(message, control.AssignConnection):
            name, connection = message.session, message.connection
            if not descriptors:
                self._jobs.event("connection lost", reason="the worker has no file descriptor left for it")
                self._closed(name, connection)
                return
            sock = socket.socket(fileno=descriptors[0])
            enter = functools.partial(self._enter_or_turn_away, name, connection, sock)
            self._jobs.tasks.start(enter, line=("connections", name))
        elif isinstance(message, control.Built):
            self._jobs.built(message)
        elif isinstance(message, control.Drain):
            self._jobs.tasks.start(self._drain)
        else:
            self._over.set()

    # Connections.

    async def _enter_or_turn_away(self, name: str, connection: int, sock: socket.socket) -> None:
        """A session that cannot be taken up costs its connection."""
        try:
            await self._enter(name, connection, sock)
        except asyncio.CancelledError:  # the worker ends, and its connections with it
            sock.close()
            raise
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever it was
            self._jobs.fault(error)
            message = "the session cannot be taken up; the server's log says why"
            with contextlib.suppress(OSError):
                sock.send(encode_frame(error_frame(0, ErrorCode.INTERNAL, "connection", message)))
            sock.close()
            self._closed(name, connection)

    async def _enter(self, name: str, connection: int, sock: socket.socket) -> None:
        """A connection of this session: the one in memory, one with journals, or a new one."""
        session = self._sessions.get(name)
        resumed = session is not None
        if name in self._connections:
            assert session is not None
            session.leave(ErrorCode.SUPERSEDED, "another connection took over the session")
            await self._left[self._connections[name]].wait()
            session = self._sessions.get(name)  # it may have ended with that connection
            resumed = session is not None
        if session is None:
            restored = await self._jobs.restored(name)
            session = ClientSession(name, self._jobs, left=self._was_left)
            try:
                for stream in restored:
                    session.add(stream)
            except Exception:
                session.end()
                raise
            resumed = bool(restored)
            self._sessions[name] = session
        if self._draining:
            session.streams.draining = True
        session.serve(sock, connection, self._welcome(resumed=resumed))
        self._connections[name] = connection
        self._left[connection] = asyncio.Event()

    def _was_left(self, session: ClientSession, connection: int) -> None:
        self._jobs.soon(lambda: self._leave(session, connection))

    def _leave(self, session: ClientSession, connection: int) -> None:
        """The connection is closed; its session waits for another one if there is something to keep."""
        if self._connections.get(session.name) == connection:
            del self._connections[session.name]
        self._left.pop(connection).set()
        if session.finished:
            self._forget(session)
        self._closed(session.name, connection)

    def _forget(self, session: ClientSession) -> None:
        """Ends a session that no connection has: for good if it is over, else its journals stay."""
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
        try:
            session.end()
        except Exception as error:  # noqa: BLE001 - others are served by this process
            self._jobs.fault(error)

    def _closed(self, session: str, connection: int) -> None:
        """Says that a connection is over, and its session with it if there is none."""
        self._tell(control.Closed(connection))
        if session not in self._sessions:
            self._tell(control.SessionEnded(session))

    def _welcome(self, *, resumed: bool) -> Frame:
        limits = self.config.limits
        welcome = Welcome(
            server=f"qecpipe protocol {VERSION}",
            resumed=resumed,
            round_bytes=limits.round_bytes,
            control_bytes=limits.control_bytes,
            upload_bytes=limits.upload_bytes,
            model_bytes=self.config.model_bytes,
            streams=self.config.streams,
            clock_ns=time.monotonic_ns(),
        )
        return Frame(FrameType.HELLO, payload=encode_message(welcome))

    # Time and again.

    async def _beat(self) -> None:
        """Tells the server that the loop is alive."""
        while True:
            self._tell(control.Beat())
            await asyncio.sleep(self.config.beat)

    async def _housekeep(self) -> None:
        used, before, touched = time.process_time(), time.monotonic(), time.monotonic()
        while True:
            await asyncio.sleep(REPORT)
            now, time_used = time.monotonic(), time.process_time()
            for session in list(self._sessions.values()):
                if session.name not in self._connections:
                    session.post(session.publish)
                    if now - session.detached_since > self.config.linger:
                        self._forget(session)
                        self._tell(control.SessionEnded(session.name))
            await self._tidy(self._write_status, (time_used - used) / (now - before))
            used, before = time_used, now
            if now - touched >= TOUCH:
                touched = now
                sessions = list(self._sessions.values())
                await self._tidy(self._jobs.touch, set().union(*(each.streams.models() for each in sessions)))
                gc.collect()

    async def _tidy(self, action: Callable[[Any], None], argument: Any) -> None:
        """Does what harms no session where it fails, as on a full disk; the next time goes on."""
        try:
            await self._jobs.load(action, argument)
            self._untidy = ""
        except Exception as error:  # noqa: BLE001 - else it would be the end of all housekeeping
            if self._untidy != repr(error):  # once, not every second
                if not isinstance(error, OSError):  # no fault of the disk's
                    self._jobs.fault(error)
                self._jobs.event("housekeeping failed", reason=str(error))
            self._untidy = repr(error)

    def _write_status(self, busy: float) -> None:
        sessions = set(self._sessions)
        streams = self._jobs.samples.work_off(sessions)
        now = control.WorkerStatus(self._slot, os.getpid(), busy, resident_bytes(), len(sessions), streams)
        now.write(self.config.folder.run)

    async def _drain(self) -> None:
        self._draining = True
        until = time.monotonic() + self.config.drain
        for session in self._sessions.values():
            session.drain()
        while time.monotonic() < until:
            if not any(name in self._connections or not s.at_rest for name, s in self._sessions.items()):
                break
            await asyncio.sleep(0.02)
        self._over.set()

    async def _end_all(self) -> None:
        """Leaves all connections, then all sessions; their journals stay."""
        for name in self._connections:
            self._sessions[name].leave(None)
        waiting = [asyncio.create_task(left.wait()) for left in self._left.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.config.drain + 1.0)
        for name, session in list(self._sessions.items()):
            if name not in self._connections:
                self._forget(session)
        self._jobs.samples.work_off(())

    def _tell(self, message: control.FromWorker) -> None:
        """To the server; without one this worker ends as soon as it reads of that."""
        with contextlib.suppress(ConnectionError):
            self._end.setblocking(True)
            control.send(self._end, message)
            self._end.setblocking(False)


def run_worker(end: socket.socket, config: WorkerConfig, *, slot: int) -> None:
    """Runs a worker in this process, which is for nothing else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the server, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # every stream has a journal
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    keep_counters(config.folder.run, slot)

    async def main() -> None:
        await Worker(end, config, slot=slot).run()

    asyncio.run(main())
