"""A worker process: serves the connections it is handed, decoder and all, in one loop.

    python -m decoder_service.server.worker FD

FD is its end of a `control.pair`; the first message on it is the WorkerConfig. Frames go straight from
the client's socket to the decoder and back: no other process is on the way.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from decoder_service.server import control
from decoder_service.server.builder import Builder
from decoder_service.server.config import WorkerConfig
from decoder_service.server.connection import Connection
from decoder_service.server.decoding import load_factory
from decoder_service.server.hosted import HostedStream, journal_folder
from decoder_service.server.hosting import Services, Session, error_frame
from decoder_service.server.journal import JournalError, streams_of
from decoder_service.server.metrics import WorkerMetrics
from decoder_service.server.models import ModelStore
from decoder_service.server.restore import restore
from decoder_service.server.snapshots import snapshot
from decoder_service.server.standby import Standby, key_of
from decoder_service.server.wires import Wires
from decoder_service.wire import VERSION, ErrorCode, Frame, FrameType, Welcome, WireFault, encode_message

HOUSEKEEPING = 1_000_000_000
"""Nanoseconds between reports."""
TAKEOVER = 60_000_000_000
"""Nanoseconds after its first connection for which a former spare keeps decoders for streams to restore."""
SWITCH_INTERVAL = 0.0005
"""Seconds the builder's thread may keep the interpreter from the loop."""


class Worker:
    """The loop, and everything that needs to know both connections and sessions."""

    def __init__(self, end: socket.socket, config: WorkerConfig) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        self.sessions: dict[str, Session] = {}
        self.wires = Wires(output_bytes=config.output_bytes, lost=self._lost)
        self.draining_until: int | None = None
        self.waited = 0
        self._end = end
        self._builder = Builder()
        self._busy: set[Session] = set()
        self._watched: set[Session] = set()
        self._housekeeping = time.monotonic_ns()
        self._since = time.monotonic_ns()
        self._running = True
        self._services = Services(
            config=config,
            models=ModelStore(
                Path(config.state) / "models", max_bytes=config.model_bytes, max_models=config.models
            ),
            build=load_factory(config.factory),
            later=self._builder.later,
            opened=self._opened,
            closed=self._closed,
        )
        self._standby = Standby(self._services.build, self._services.models, self._builder)
        self._adopted_at: int | None = None
        self.wires.watch(end, self._controlled)
        self.wires.watch(self._builder.wake, self._built)

    def run(self) -> None:
        """Serves until the front is gone, or until drained."""
        while self._running:
            before = time.monotonic_ns()
            events = self.wires.selector.select(self._timeout(before))
            now = time.monotonic_ns()
            self.waited += now - before
            for key, mask in events:
                key.data(mask)
            for session in list(self._watched):
                self._tick(session, now)
            for session in list(self._busy):
                self._work(session)
            if now >= self._housekeeping:
                self._housekeep(now)
        self._finish()

    def take_busy(self, now: int) -> float:
        """Share of the time since the last call that was not spent waiting."""
        passed, waited = now - self._since, self.waited
        self._since, self.waited = now, 0
        return 1 - min(1.0, waited / passed) if passed else 0.0

    def _timeout(self, now: int) -> float:
        if self._busy:
            return 0
        due = self._housekeeping
        for session in self._watched:
            for hosted in session.streams.values():
                due = min(due, hosted.session.next_deadline() or due)
        return max(0, due - now) / 1e9

    def _controlled(self, mask: int) -> None:
        message, descriptor = control.receive_as_worker(self._end)
        if message is None:
            self._running = False
        elif isinstance(message, control.Drain):
            self._drain()
        elif isinstance(message, control.Standby):
            self._standby.want(message.key, message.count)
        elif descriptor is not None:
            self._adopt(message, socket.socket(fileno=descriptor))

    def _opened(self, session: str, hosted: HostedStream) -> None:
        key = key_of(hosted.options)
        control.send(self._end, control.Holds(session, hosted.session.stream, key))

    def _closed(self, session: str, hosted: HostedStream) -> None:
        self.metrics.closed(hosted.session.stats)
        control.send(self._end, control.Holds(session, hosted.session.stream, b""))

    def _adopt(self, adopt: control.Adopt, sock: socket.socket) -> None:
        connection = Connection(sock, adopt.connection, limits=self.config.limits)
        self.wires.connections[connection.number] = connection
        self._adopted_at = self._adopted_at or time.monotonic_ns()
        session = self.sessions.get(adopt.session)
        if session is not None:
            if session.connection is not None:
                message = "another connection took over the session"
                old = session.connection
                self.wires.send(old, [error_frame(0, ErrorCode.SUPERSEDED, "connection", message)])
                self.wires.close(old)
            self._welcome(session, connection, resumed=True)
            return
        journals = streams_of(journal_folder(Path(self.config.state)), adopt.session)
        session = self.sessions[adopt.session] = Session(adopt.session, self._services)
        if not journals:
            self._welcome(session, connection, resumed=False)
            return
        session.attach(connection, time.monotonic_ns())
        self._builder.later(
            lambda: [self._restore(adopt.session, stream) for stream in journals],
            lambda streams, error: self._restored(session, connection, streams, error),
        )

    def _restore(self, session: str, stream: int) -> HostedStream | None:
        return restore(
            journal_folder(Path(self.config.state)),
            session,
            stream,
            build=self._standby.build,
            models=self._services.models.get,
            gap_deadline=round(self.config.gap_deadline * 1e9),
            segment_bytes=self.config.segment_bytes,
            prune=self.config.prune,
        )

    def _restored(
        self,
        session: Session,
        connection: Connection,
        streams: list[HostedStream | None] | None,
        error: BaseException | None,
    ) -> None:
        for hosted in streams or ():
            if hosted is not None:
                session.add(hosted)
        if connection.number not in self.wires.connections:
            return
        if error is not None:
            message = f"the session's journal cannot be taken up: {error}"
            self.wires.send(connection, [error_frame(0, ErrorCode.RESUME_LOST, "connection", message)])
            session.over = True
            self._end_session(session)
            return
        self._welcome(session, connection, resumed=True)

    def _welcome(self, session: Session, connection: Connection, *, resumed: bool) -> None:
        limits = self.config.limits
        session.draining = self.draining_until is not None
        session.attach(connection, time.monotonic_ns())
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
        self.wires.watch(connection.sock, lambda mask: self._ready(connection, session, mask))
        self.wires.send(connection, [Frame(FrameType.HELLO, payload=encode_message(welcome))])

    def _ready(self, connection: Connection, session: Session, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and self.wires.flush(connection):
            for hosted in session.streams.values():
                hosted.session.heard_again(time.monotonic_ns())
            self._busy.add(session)
        if not mask & selectors.EVENT_READ or connection.number not in self.wires.connections:
            return
        items = connection.receive()
        if items is None:
            self.wires.close(connection)
            return
        now = time.monotonic_ns()
        replies: list[Frame] = []
        for item in items:
            if isinstance(item, WireFault):
                self.metrics.fault(item.kind.value)
                connection.faults += 1
                connection.closing |= item.fatal
            replies += session.handle(item, now)
        if connection.faults > self.config.faults:
            message = f"more than {self.config.faults} damaged frames on this connection"
            replies.append(error_frame(0, ErrorCode.TOO_MANY_FAULTS, "connection", message))
            connection.closing = True
        if replies:
            self.wires.send(connection, replies)
        self._busy.add(session)
        if session.over or connection.closing:
            self._work(session)
            self._end_session(session) if session.over else self.wires.close(connection)

    def _work(self, session: Session) -> None:
        """One turn of each of its streams."""
        self._busy.discard(session)
        connection = session.connection
        if connection is not None and connection.stalled_since is not None:
            return
        out, session.outbox = session.outbox, []
        watch = False
        for hosted in list(session.streams.values()):
            try:
                out += hosted.work(self.config.row_budget)
            except JournalError as error:
                out.append(error_frame(hosted.session.stream, ErrorCode.JOURNAL_FAILED, "stream", str(error)))
                self._drop(session, hosted)
                continue
            if hosted.latencies:
                self.metrics.observe(hosted.latencies)
            out += hosted.session.credit()
            watch |= hosted.session.next_deadline() is not None
            if hosted.session.intake.has_ready:
                self._busy.add(session)
        (self._watched.add if watch else self._watched.discard)(session)
        if connection is None:
            session.outbox += [frame for frame in out if frame.type not in _RESENT_ON_RESUME]
        elif out:
            self.wires.send(connection, out)

    def _drop(self, session: Session, hosted: HostedStream) -> None:
        try:
            session.close_stream(hosted, over=False)
        except OSError:
            # The disk that failed the journal may fail its closing too; the stream is gone either way.
            session.streams.pop(hosted.session.stream, None)

    def _tick(self, session: Session, now: int) -> None:
        connection = session.connection
        if connection is None or connection.stalled_since is not None:
            self._watched.discard(session)
            return
        frames: list[Frame] = []
        for hosted in session.streams.values():
            due = hosted.session.next_deadline()
            if due is not None and due <= now:
                frames += hosted.session.tick(now)
                self._busy.add(session)
        if frames:
            self.wires.send(connection, frames)

    def _lost(self, connection: Connection) -> None:
        session = self.sessions.get(connection.session)
        if session is not None and session.connection is connection:
            session.connection = None
            session.detached_since = time.monotonic_ns()
            if not session.streams and session.at_rest:
                self._end_session(session)
        control.send(self._end, control.Closed(connection.number))

    def _end_session(self, session: Session) -> None:
        """Forgets a session: for good if it is `over`, else its journals stay."""
        for hosted in list(session.streams.values()):
            try:
                session.close_stream(hosted, over=session.over)
            except OSError:
                session.streams.pop(hosted.session.stream, None)
        if session.connection is not None:
            self.wires.close(session.connection)
        self.sessions.pop(session.name, None)
        self._busy.discard(session)
        self._watched.discard(session)
        control.send(self._end, control.Gone(session.name))

    def _built(self, mask: int) -> None:
        self._builder.collect()
        self._busy |= {session for session in self.sessions.values()}

    def _housekeep(self, now: int) -> None:
        self._housekeeping = now + HOUSEKEEPING
        for connection in list(self.wires.connections.values()):
            stalled = connection.stalled_since
            if stalled is not None and now - stalled > self.config.slow_reader * 1e9:
                self.wires.close(connection)
        for session in list(self.sessions.values()):
            if session.connection is None and now - session.detached_since > self.config.linger * 1e9:
                self._end_session(session)
        control.send(self._end, control.Report(snapshot(self)))
        if self._adopted_at is not None and now - self._adopted_at > TAKEOVER:
            self._standby.clear()
        if self.draining_until is not None:
            rest = [session for session in self.sessions.values() if session.at_rest]
            for session in list(self.sessions.values()) if now >= self.draining_until else rest:
                self._end_session(session)
            self._running = bool(self.sessions) and now < self.draining_until

    def _drain(self) -> None:
        now = time.monotonic_ns()
        self.draining_until = now + round(self.config.drain * 1e9)
        self._housekeeping = now
        for session in self.sessions.values():
            session.draining = True
            if session.connection is not None:
                message = "the server ends when the shots in flight are done"
                self.wires.send(
                    session.connection, [error_frame(0, ErrorCode.DRAINING, "connection", message)]
                )

    def _finish(self) -> None:
        for session in list(self.sessions.values()):
            for hosted in list(session.streams.values()):
                self._drop(session, hosted)
        for connection in list(self.wires.connections.values()):
            connection.close()
        self._builder.close()
        self._end.close()


_RESENT_ON_RESUME = (FrameType.COMMIT, FrameType.RESULT, FrameType.CREDIT, FrameType.NACK)


def main(arguments: list[str]) -> None:
    """Runs a worker on the file descriptor given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the front, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    end = socket.socket(fileno=int(arguments[0]))
    config = end.recv(control.MAX_MESSAGE)
    if config:
        worker = Worker(end, msgspec.msgpack.decode(config, type=WorkerConfig))
        control.send(end, control.Ready(os.getpid()))
        worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
