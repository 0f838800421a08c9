"""A worker process: the sessions that it was handed, each served by a thread, and what is done for them.

Frames go straight from the client's socket to the decoder and back: no other process is on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from decoder_service.protocol import (
    VERSION,
    Error,
    ErrorCode,
    Frame,
    FrameType,
    Open,
    Reload,
    UploadPayload,
    Welcome,
    encode_frame,
    encode_message,
)
from decoder_service.server import control
from decoder_service.server.building import build_of, decoder_from, reload_from, stored_tables
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.journal import segments
from decoder_service.server.metrics import WorkerMetrics, WorkerStatus, resident_bytes
from decoder_service.server.models import ModelStore, UploadBudget
from decoder_service.server.restore import RestoredStream, restore
from decoder_service.server.server_stream import ServerStream

T = TypeVar("T")
TOUCH = 60
"""Seconds from one `touch` of the models in use to the next."""
LOADERS = 2
"""Threads that load tables and store models."""
SWITCH_INTERVAL = 0.0002
"""Seconds that one thread may keep the interpreter from the others, if they want it."""


class Worker:
    """The loop. What concerns one session is done in its turn, by `_in_turn`."""

    def __init__(self, end: socket.socket, config: WorkerConfig) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        self.uploads = UploadBudget(max_bytes=config.model_bytes)
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._models = ModelStore(config.folder, max_bytes=config.model_bytes, max_models=config.models)
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="loader")
        self._sessions: dict[str, ClientSession] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}
        """A session takes up its connections one after the other, and so it is with its other jobs."""
        self._left: dict[int, asyncio.Event] = {}
        """By connection: its thread is at its end."""
        self._connections: dict[str, int] = {}
        """Connection of each session that is served."""
        self._builds: dict[str, asyncio.Future[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serves until the server is gone, or until drained."""
        self._end.setblocking(False)
        self._loop.add_reader(self._end, self._controlled)
        self._keep(self._housekeep())
        self._tell(control.Ready())
        await self._over.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_all()
        self._loaders.shutdown(cancel_futures=True)

    # What sessions ask for, in their threads.

    def open(self, session: ClientSession, stream: int, options: Open) -> None:
        """Has a decoder made."""
        self._soon(lambda: self._in_turn(session.name, self._open(session, stream, options)))

    def reload(self, session: ClientSession, stream: ServerStream, reload: Reload) -> None:
        """Has a model made."""
        self._soon(lambda: self._in_turn(session.name, self._reload(session, stream, reload)))

    def store(self, session: ClientSession, part: UploadPayload, text: bytes) -> None:
        """Has a model stored."""
        self._soon(lambda: self._in_turn(session.name, self._store(session, part, text)))

    def event(self, event: str, **fields: str | int | float) -> None:
        """Writes a line to the server's log."""
        self._soon(lambda: self._tell(control.Event(event, fields)))

    def left(self, session: ClientSession, connection: int) -> None:
        """The connection is closed; its session waits for another one if there is something to keep."""
        self._soon(lambda: self._was_left(session, connection))

    # Jobs, one at a time for each session.

    async def _open(self, session: ClientSession, stream: int, options: Open) -> None:
        try:
            await self._load(self._models.text, options.model)
            build = build_of(options)
            tables = await self._tables(build)
            decoder = await self._load(decoder_from, tables, build, self._models.text)
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever it was
            self._unexpected(error)
            session.post(lambda error=error: session.not_opened(stream, error))
            return
        options = msgspec.structs.replace(options, resume_after=None)
        session.post(lambda: session.opened(stream, options, decoder))

    async def _reload(self, session: ClientSession, stream: ServerStream, reload: Reload) -> None:
        try:
            await self._load(self._models.text, reload.model)
            build = build_of(stream.options, current=stream.reloaded, reload=reload)
            tables = await self._tables(build)
            model = await self._load(reload_from, tables, build, stream.decoder, self._models.text)
        except Exception as error:  # noqa: BLE001 - as above
            self._unexpected(error)
            session.post(lambda error=error: session.not_reloaded(stream, error))
            return
        session.post(lambda: session.reloaded(stream, model))

    async def _store(self, session: ClientSession, part: UploadPayload, text: bytes) -> None:
        try:
            await self._load(lambda: self._models.put(text, digest=part.digest))
        except Exception as error:  # noqa: BLE001 - as above
            self._unexpected(error)
            session.post(lambda error=error: session.stored(part, error))
            return
        session.post(lambda: session.stored(part, None))

    def _unexpected(self, error: Exception) -> None:
        """Logs what is no fault of the client's or the disk's."""
        if not isinstance(error, ValueError | OSError):
            self._fault(error)

    def _fault(self, error: BaseException) -> None:
        self.event("worker fault", reason="".join(traceback.format_exception(error))[-4000:])

    async def _tables(self, build: control.Build) -> bytes:
        """What was built, by now. Raises ValueError where it cannot be."""
        folder = self.config.folder
        tables = await self._load(stored_tables, folder, build)
        if tables is not None:
            return tables
        future = self._builds.get(build.key)
        if future is None:
            future = self._builds[build.key] = self._loop.create_future()
            self._tell(build)
        error = await asyncio.shield(future)
        if error:
            raise ValueError(error)
        tables = await self._load(stored_tables, folder, build)
        if tables is None:
            raise ValueError("the tables of the model were deleted; try again")
        return tables

    # Connections.

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
            session = ClientSession(name, self)
            streams = await asyncio.to_thread(self._restored, name)  # its threads may wait for loaders
            try:
                for stream in streams:
                    session.add(stream)
            except BaseException:
                session.end()
                raise
            resumed = bool(streams)
            self._sessions[name] = session
        if self._draining:
            session.draining = True
        self._connections[name] = connection
        self._left[connection] = asyncio.Event()
        session.serve(sock, connection, self._welcome(resumed=resumed))

    def _restored(self, name: str) -> list[RestoredStream]:
        """What the journals of a session lead to; in a thread of its own."""
        folder = self.config.folder
        found: list[RestoredStream] = []
        for stream in sorted({segment.stream for segment in segments(folder.journals, name)}):
            try:
                restored = restore(
                    folder,
                    name,
                    stream,
                    sources=self,
                    gap_deadline=round(self.config.gap_deadline * 1e9),
                    keep=not self.config.prune,
                )
            except (ValueError, OSError) as error:
                self.event("stream lost", session=name[:8], stream=stream, reason=str(error))
                continue
            for damage in restored.damage:
                self.event("journal damaged", session=name[:8], stream=stream, damage=damage)
            if restored.stream is not None:
                found.append(restored.stream)
        if found:
            self.event("session restored", session=name[:8], streams=len(found))
        return found

    def text(self, digest: str) -> str:
        """Of a model, for the thread of `_restored`."""
        return self._models.text(digest)

    def tables(self, build: control.Build) -> bytes:
        """`_tables`, for the thread of `_restored`."""
        tables = stored_tables(self.config.folder, build)
        if tables is None:
            wanted = build.options.model if build.reload is None else build.reload.model
            self._models.text(wanted)  # says that it is unknown, if it is
            tables = asyncio.run_coroutine_threadsafe(self._tables(build), self._loop).result()
        return tables

    def _was_left(self, session: ClientSession, connection: int) -> None:
        if self._connections.get(session.name) == connection:
            del self._connections[session.name]
        self._left.pop(connection).set()
        self._tell(control.Closed(connection))
        if session.over or session.failed or (not session.streams and session.at_rest):
            self._forget(session)

    def _forget(self, session: ClientSession) -> None:
        """Ends a session that no connection has: for good if it is over, else its journals stay."""
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
        session.end()
        self._tell(control.SessionEnded(session.name))

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

    # The loop.

    def _controlled(self) -> None:
        try:
            message, descriptors = control.receive(self._end, control.ToWorker)
        except BlockingIOError:
            return
        if isinstance(message, control.AssignConnection):
            sock = socket.socket(fileno=descriptors[0])
            enter = self._enter_or_turn_away(message.session, message.connection, sock)
            self._in_turn(message.session, enter, line="connections")
        elif isinstance(message, control.Built):
            future = self._builds.pop(message.key, None)
            if future is not None:
                future.set_result(message.error)
        elif isinstance(message, control.Drain):
            self._keep(self._drain())
        else:
            self._over.set()

    async def _enter_or_turn_away(self, name: str, connection: int, sock: socket.socket) -> None:
        """A session that cannot be taken up costs its connection."""
        try:
            await self._enter(name, connection, sock)
        except asyncio.CancelledError:  # the worker ends, and its connections with it
            sock.close()
            raise
        except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever it was
            self._fault(error)
            message = "the session cannot be taken up; the server's log says why"
            answer = Error(ErrorCode.INTERNAL, "connection", message)
            with contextlib.suppress(OSError):
                sock.send(encode_frame(Frame(FrameType.ERROR, payload=encode_message(answer))))
            sock.close()
            self._tell(control.Closed(connection))

    async def _housekeep(self) -> None:
        beats = 0
        used, before = time.process_time(), time.monotonic()
        while True:
            self._tell(control.Beat())
            beats += 1
            now = time.monotonic()
            if now - before >= 1.0:
                share = (time.process_time() - used) / (now - before)
                used, before = time.process_time(), now
                await self._load(self._write_status, share)
            for session in list(self._sessions.values()):
                if session.name in self._connections:
                    continue
                session.publish()
                if now - session.detached_since > self.config.linger:
                    self._forget(session)
            if beats * self.config.beat >= TOUCH:
                beats = 0
                await self._load(self._touch_models)
                gc.collect()
            await asyncio.sleep(self.config.beat)

    def _write_status(self, busy: float) -> None:
        sessions = list(self._sessions.values())
        streams = [stream for session in sessions for stream in session.report]
        now = WorkerStatus(os.getpid(), busy, resident_bytes(), len(sessions), streams)
        now.write(self.config.folder.run)

    def _touch_models(self) -> None:
        for session in list(self._sessions.values()):
            for stream in list(session.streams.values()):
                self._models.touch(stream.options.model)
                if stream.reloaded is not None:
                    self._models.touch(stream.reloaded.model)

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

    def _tell(self, message: control.FromWorker) -> None:
        """To the server; without one this worker ends as soon as it reads of that."""
        with contextlib.suppress(ConnectionError):
            self._end.setblocking(True)
            control.send(self._end, message)
            self._end.setblocking(False)

    def _soon(self, action: Callable[[], object]) -> None:
        """In the loop, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(action)

    def _load(self, action: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._loaders, action, *args)

    def _in_turn(self, name: str, job: Coroutine[None, None, None], *, line: str = "jobs") -> None:
        """Does a job for a session once those before it in this line are done."""

        async def turn() -> None:
            lock = self._turns.setdefault((name, line), asyncio.Lock())
            async with lock:
                await job
            if not lock.locked() and name not in self._sessions:
                self._turns.pop((name, line), None)

        self._keep(turn())

    def _keep(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault(error)


def run_worker(end: socket.socket, config: WorkerConfig) -> None:
    """Runs a worker in this process, which is for nothing else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the server, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)

    async def main() -> None:
        await Worker(end, config).run()

    asyncio.run(main())
