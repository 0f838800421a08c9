"""What a worker does for its sessions: frames in, one turn of decoding each, frames out, deadlines."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from decoder_service.server.config import WorkerConfig
from decoder_service.server.connection import Connection
from decoder_service.server.hosted import HostedStream
from decoder_service.server.hosting import Session
from decoder_service.server.journal import JournalError
from decoder_service.server.lobby import Lobby
from decoder_service.server.metrics import WorkerMetrics
from decoder_service.server.services import error_frame
from decoder_service.server.wires import Wires
from decoder_service.wire import ErrorCode, Frame, FrameType, WireFault

_READABLE = select.EPOLLIN
_DATA = (FrameType.ROUND, FrameType.FINAL)
_RESENT_ON_RESUME = (FrameType.COMMIT, FrameType.RESULT, FrameType.CREDIT, FrameType.NACK)


class Turns:
    """Sessions that have something to do take turns, and so do the streams of a session.

    Args:
        lobby: who is there.
        event: writes a line to the log, with fields.
    """

    def __init__(
        self,
        config: WorkerConfig,
        wires: Wires,
        metrics: WorkerMetrics,
        *,
        lobby: Callable[[], Lobby],
        event: Callable[..., None],
    ) -> None:
        self.busy: set[Session] = set()
        """With something to decode or to send."""
        self.watched: set[Session] = set()
        """With a deadline."""
        self._config = config
        self._wires = wires
        self._metrics = metrics
        self._find_lobby = lobby
        self._event = event
        self._turn = round(config.turn * 1e9)

    @property
    def _lobby(self) -> Lobby:
        return self._find_lobby()

    def run(self, now: int) -> None:
        """One turn of everything that is due."""
        if self.watched:
            for session in list(self.watched):
                self.tick(session, now)
        if self.busy:
            for session in list(self.busy):
                self.work(session)

    def due(self, latest: int) -> int:
        """When `run` has something to do, in ns; `latest` if nothing is due before."""
        for session in self.watched:
            for hosted in session.streams.values():
                latest = min(latest, hosted.session.next_deadline() or latest)
        return latest

    def forget(self, session: Session) -> None:
        """The session ended."""
        self.busy.discard(session)
        self.watched.discard(session)

    def ready(self, connection: Connection, session: Session, mask: int) -> None:
        """Reads and writes what can be, and answers."""
        if connection.number not in self._wires.connections:
            return
        if mask != _READABLE and not self._write(connection, session, mask):
            return
        items = connection.receive()
        if items is None:
            self._wires.close(connection)
            return
        now = time.monotonic_ns()
        first = self._straight(connection, session, items, now)
        if first == len(items):
            return
        replies: list[Frame] = []
        for item in items[first:]:
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
            self._wires.send(connection, replies)
        self.busy.add(session)
        if session.over or connection.closing:
            self.work(session)
            self._lobby.end(session) if session.over else self._wires.close(connection)

    def _write(self, connection: Connection, session: Session, mask: int) -> bool:
        """Writes what can be; whether there is something to read."""
        if mask & select.EPOLLOUT and self._wires.flush(connection):
            for hosted in session.streams.values():
                hosted.session.heard_again(time.monotonic_ns())
            self.busy.add(session)
        return bool(mask & ~select.EPOLLOUT) and connection.number in self._wires.connections

    def _straight(
        self, connection: Connection, session: Session, items: list[Frame | WireFault], now: int
    ) -> int:
        """Decodes data frames that came in order and with nothing before them, for one turn.

        What they lead to is sent before all else is done for it. Returns how many frames that were.
        """
        if session in self.busy:
            return 0
        out: list[bytes] = []
        until = now + self._turn
        count = 0
        sole = connection.parser.sole
        for item in items:
            hosted = session.streams.get(item.stream)
            if hosted is None or not isinstance(item, Frame) or item.type not in _DATA:
                break
            if item.stream not in session.announced:
                break
            try:
                data = hosted.straight(item, now, sole)
                if data is None:
                    break
                count += 1
                if data:
                    out.append(data)
                if len(items) > 1:
                    hosted.settle()
            except JournalError as error:
                self._journal_failed(session, hosted, error)
                break
            if len(items) > 1 and time.monotonic_ns() >= until:
                break
        if out:
            self._wires.send_encoded(connection, b"".join(out))
        if count:
            self.busy.add(session)
        return count

    def work(self, session: Session) -> None:
        """One turn of each of its streams."""
        self.busy.discard(session)
        connection = session.connection
        if connection is not None and connection.stalled_since is not None:
            for hosted in list(session.streams.values()):
                self._settle(session, hosted)
            return
        out, session.outbox = session.outbox, []
        watch = False
        for hosted in list(session.streams.values()):
            try:
                hosted.settle()
                frames = hosted.work(self._turn)
            except JournalError as error:
                self._journal_failed(session, hosted, error)
                continue
            if hosted.latencies:
                self._metrics.observe(hosted.latencies)
            frames += hosted.session.credit()
            if hosted.session.stream not in session.announced:
                frames = [frame for frame in frames if frame.type not in _RESENT_ON_RESUME]
            out += frames
            watch |= hosted.session.next_deadline() is not None
            if hosted.session.has_ready:
                self.busy.add(session)
        out += session.answer_waiting()
        (self.watched.add if watch else self.watched.discard)(session)
        if connection is None:
            session.outbox += [frame for frame in out if frame.type not in _RESENT_ON_RESUME]
        elif out:
            self._wires.send(connection, out)

    def _settle(self, session: Session, hosted: HostedStream) -> None:
        """What a row leaves to do does not wait for the client to read: a resume must find it done."""
        try:
            hosted.settle()
        except JournalError as error:
            self._journal_failed(session, hosted, error)

    def _journal_failed(self, session: Session, hosted: HostedStream, error: JournalError) -> None:
        stream = hosted.session.stream
        session.outbox.append(error_frame(stream, ErrorCode.JOURNAL_FAILED, "stream", str(error)))
        self._event("journal failed", session=session.name[:8], stream=stream, reason=str(error))
        self._lobby.drop(session, hosted)
        self.busy.add(session)

    def tick(self, session: Session, now: int) -> None:
        """NACKs and erasures that are due."""
        connection = session.connection
        if connection is None or connection.stalled_since is not None:
            self.watched.discard(session)
            return
        frames: list[Frame] = []
        for hosted in session.streams.values():
            due = hosted.session.next_deadline()
            if due is not None and due <= now:
                frames += hosted.session.tick(now)
                self.busy.add(session)
        if frames:
            self._wires.send(connection, frames)
