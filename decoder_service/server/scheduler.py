"""What a worker does for its sessions: frames in, one time slice of decoding each, frames out, deadlines."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from decoder_service.protocol import ErrorCode, Frame, FrameType, WireFault
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.connection import Connection
from decoder_service.server.event_loop import EventLoop
from decoder_service.server.journal import JournalError
from decoder_service.server.metrics import WorkerMetrics
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.services import error_frame
from decoder_service.server.session_registry import SessionRegistry

_READABLE = select.EPOLLIN
_RESENT_ON_RESUME = (FrameType.COMMIT, FrameType.RESULT, FrameType.CREDIT, FrameType.NACK)


class Scheduler:
    """Gives sessions that have something to do, and the streams of a session, their time slices in turn.

    Args:
        registry: the sessions.
        event: writes a line to the log, with fields.
    """

    def __init__(
        self,
        config: WorkerConfig,
        event_loop: EventLoop,
        metrics: WorkerMetrics,
        registry: SessionRegistry,
        *,
        event: Callable[..., None],
    ) -> None:
        self.busy: set[ClientSession] = set()
        """With something to decode or to send."""
        self.watched: set[ClientSession] = set()
        """With a deadline."""
        self._config = config
        self._event_loop = event_loop
        self._metrics = metrics
        self._registry = registry
        self._event = event
        self._time_slice = round(config.time_slice * 1e9)

    def run(self, now: int) -> None:
        """One time slice of everything that is due."""
        if self.watched:
            for session in list(self.watched):
                self.tick(session, now)
        if self.busy:
            for session in list(self.busy):
                self.work(session)

    def due(self, latest: int) -> int:
        """When `run` has something to do, in ns; `latest` if nothing is due before."""
        for session in self.watched:
            for server_stream in session.streams.values():
                latest = min(latest, server_stream.session.next_deadline() or latest)
        return latest

    def forget(self, session: ClientSession) -> None:
        """The session ended."""
        self.busy.discard(session)
        self.watched.discard(session)

    def ready(self, connection: Connection, session: ClientSession, mask: int) -> None:
        """Reads and writes what can be, and answers."""
        if connection.number not in self._event_loop.connections:
            return
        if mask != _READABLE and not self._write(connection, session, mask):
            return
        items = connection.receive()
        if items is None:
            self._event_loop.close(connection)
            return
        now = time.monotonic_ns()
        replies: list[Frame] = []
        for item in items:
            if isinstance(item, WireFault):
                self._metrics.fault(item.kind.value)
                connection.faults += 1
                connection.closing |= item.fatal
            replies += session.handle(item, now)
        if connection.faults > self._config.faults:
            message = f"more than {self._config.faults} damaged frames on this connection"
            replies.append(error_frame(0, ErrorCode.TOO_MANY_FAULTS, "connection", message))
            connection.closing = True
        if replies:
            self._event_loop.send(connection, replies)
        self.busy.add(session)
        if session.over or connection.closing:
            self.work(session)
            self._registry.end(session) if session.over else self._event_loop.close(connection)

    def _write(self, connection: Connection, session: ClientSession, mask: int) -> bool:
        """Writes what can be; whether there is something to read."""
        if mask & select.EPOLLOUT and self._event_loop.flush(connection):
            for server_stream in session.streams.values():
                server_stream.session.resume_deadlines(time.monotonic_ns())
            self.busy.add(session)
        return bool(mask & ~select.EPOLLOUT) and connection.number in self._event_loop.connections

    def work(self, session: ClientSession) -> None:
        """One time slice of each of its streams."""
        self.busy.discard(session)
        connection = session.connection
        if connection is not None and connection.stalled_since is not None:
            return
        out, session.outbox = session.outbox, []
        watch = False
        for server_stream in list(session.streams.values()):
            try:
                frames = server_stream.work(self._time_slice)
            except JournalError as error:
                self._journal_failed(session, server_stream, error)
                continue
            if server_stream.latencies:
                self._metrics.observe(server_stream.latencies)
            frames += server_stream.session.credit()
            if server_stream.session.stream not in session.announced:
                frames = [frame for frame in frames if frame.type not in _RESENT_ON_RESUME]
            out += frames
            watch |= server_stream.session.next_deadline() is not None
            if server_stream.session.has_ready:
                self.busy.add(session)
        out += session.answer_waiting()
        (self.watched.add if watch else self.watched.discard)(session)
        if connection is None:
            session.outbox += [frame for frame in out if frame.type not in _RESENT_ON_RESUME]
        elif out:
            self._event_loop.send(connection, out)

    def _journal_failed(
        self, session: ClientSession, server_stream: ServerStream, error: JournalError
    ) -> None:
        stream = server_stream.session.stream
        session.outbox.append(error_frame(stream, ErrorCode.JOURNAL_FAILED, "stream", str(error)))
        self._event("journal failed", session=session.name[:8], stream=stream, reason=str(error))
        self._registry.drop(session, server_stream)
        self.busy.add(session)

    def tick(self, session: ClientSession, now: int) -> None:
        """NACKs and erasures that are due."""
        connection = session.connection
        if connection is None or connection.stalled_since is not None:
            self.watched.discard(session)
            return
        frames: list[Frame] = []
        for server_stream in session.streams.values():
            due = server_stream.session.next_deadline()
            if due is not None and due <= now:
                frames += server_stream.session.tick(now)
                self.busy.add(session)
        if frames:
            self._event_loop.send(connection, frames)
