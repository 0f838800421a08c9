"""A worker process: serves the connections it is handed, decoder and all, in one loop.

    python -m decoder_service.server.worker FD PARENT

FD is its end of a `control.pair`; the first message on it is the WorkerConfig. PARENT is the front end's
process, with which it ends. Frames go straight from
the client's socket to the decoder and back: no other process is on the way.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import sys
import time

import msgspec

from decoder_service.protocol import ErrorCode
from decoder_service.server import control
from decoder_service.server.builder import Builder
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.connection import Connection
from decoder_service.server.decoding import load_factory
from decoder_service.server.event_loop import EventLoop
from decoder_service.server.lifetime import end_with
from decoder_service.server.metrics import WorkerMetrics
from decoder_service.server.models import ModelStore, UploadBudget
from decoder_service.server.scheduler import Scheduler
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.services import Services, error_frame
from decoder_service.server.session_registry import SessionRegistry
from decoder_service.server.snapshots import gauges, snapshot
from decoder_service.server.warm_spare import WarmSpare, key_of

HOUSEKEEPING = 1_000_000_000
"""Nanoseconds between reports."""
TAKEOVER = 60_000_000_000
"""Nanoseconds after its first connection for which a former spare keeps decoders for streams to restore."""
SWITCH_INTERVAL = 0.00002
"""Seconds that Python code of the builder may keep the interpreter from the loop, several times a round."""
TOUCH = 60
"""Housekeepings from one `touch` of the models in use to the next."""
GARBAGE_THRESHOLD = 50_000
"""Allocations between two looks for cycles: the hot path makes none, and a look is a pause."""


class Worker:
    """The loop, and everything that needs to know both connections and sessions."""

    def __init__(self, end: socket.socket, config: WorkerConfig) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        alone = len(os.sched_getaffinity(0)) < 2  # then whoever could send something has to wait for us
        self.event_loop = EventLoop(
            output_bytes=config.output_bytes,
            busy_poll=0 if alone else round(config.busy_poll * 1e9),
            lost=self._lost,
        )
        self.draining_until: int | None = None
        self.waited = 0
        self._end = end
        self._builder = Builder()
        self._housekeeping = self._since = time.monotonic_ns()
        self._untouched = 0
        self._dropped = False
        """Whether a decoder was let go of since the last look for cycles, which they are full of."""
        self._running = True
        self._services = Services(
            config=config,
            models=ModelStore(config.folder, max_bytes=config.model_bytes, max_models=config.models),
            uploads=UploadBudget(max_bytes=config.model_bytes),
            build=load_factory(config.factory),
            later=self._builder.later,
            opened=self._opened,
            closed=self._closed,
            event=self._event,
        )
        self._warm_spare = WarmSpare(self._services.build, self._services.models, self._builder)
        self._adopted_at: int | None = None
        self._registry = SessionRegistry(
            config,
            self.event_loop,
            self._services,
            self._warm_spare,
            self._builder,
            welcomed=self._welcomed,
            ended=self._session_ended,
        )
        self._scheduler = Scheduler(config, self.event_loop, self.metrics, self._registry, event=self._event)
        self.sessions = self._registry.sessions
        self.event_loop.watch(end, self._controlled)
        self.event_loop.watch(self._builder.wake, self._built)

    def run(self) -> None:
        """Serves until the front end is gone, or until drained."""
        while self._running:
            before = time.monotonic_ns()
            happened = self.event_loop.wait(self._until(before))
            now = time.monotonic_ns()
            self.waited += now - before
            for action, mask in happened:
                action(mask)
            self._scheduler.run(now)
            if now >= self._housekeeping:
                self._housekeep(now)
        self._finish()

    def _take_busy(self, now: int) -> float:
        """Share of the time since the last call that was not spent waiting."""
        passed, waited = now - self._since, self.waited
        self._since, self.waited = now, 0
        return 1 - min(1.0, waited / passed) if passed else 0.0

    def _until(self, now: int) -> int:
        return now if self._scheduler.busy else self._scheduler.due(self._housekeeping)

    def _controlled(self, mask: int) -> None:
        message, descriptor = control.receive_as_worker(self._end)
        if message is None:
            self._running = False
        elif isinstance(message, control.Drain):
            self._drain()
        elif isinstance(message, control.KeepWarm):
            self._warm_spare.want(message.key, message.count)
        elif descriptor is not None:
            connection = Connection(
                socket.socket(fileno=descriptor), message.connection, limits=self.config.limits
            )
            self.event_loop.connections[connection.number] = connection
            self._adopted_at = self._adopted_at or time.monotonic_ns()
            self._registry.enter(message.session, connection)

    def _tell(self, message: msgspec.Struct) -> None:
        """To the front end; without one this worker ends as soon as it reads of that."""
        with contextlib.suppress(ConnectionError):
            control.send(self._end, message)

    def _event(self, event: str, **fields: str | int | float) -> None:
        self._tell(control.Event(event, fields))

    def _opened(self, session: str, server_stream: ServerStream) -> None:
        stream = server_stream.session
        self._tell(control.StreamRegistered(session, stream.stream, key_of(server_stream.options)))
        self._event(
            "stream opened",
            session=session[:8],
            stream=stream.stream,
            model=stream.model_id.hex(),
            rounds=stream.shape.rounds,
            decoder=server_stream.options.decoder,
        )

    def _closed(self, session: str, server_stream: ServerStream) -> None:
        stats = server_stream.session.stats
        self._dropped = True
        self.metrics.closed(stats)
        self._tell(control.StreamRegistered(session, server_stream.session.stream, b""))
        totals = {name: getattr(stats, name) for name in ("shots", "commits", "erased", "failed")}
        self._event("stream closed", session=session[:8], stream=server_stream.session.stream, **totals)

    def _lost(self, connection: Connection) -> None:
        self._registry.left(connection)
        self._tell(control.Closed(connection.number))

    def _welcomed(self, connection: Connection, session: ClientSession) -> None:
        serve = functools.partial(self._scheduler.ready, connection, session)
        self.event_loop.watch(connection.sock, serve)

    def _session_ended(self, session: ClientSession) -> None:
        self._scheduler.forget(session)
        self._tell(control.SessionEnded(session.name))

    def _built(self, mask: int) -> None:
        self._builder.collect()
        self._scheduler.busy |= set(self.sessions.values())

    def _housekeep(self, now: int) -> None:
        self._housekeeping = now + HOUSEKEEPING
        for connection in list(self.event_loop.connections.values()):
            stalled = connection.stalled_since
            if stalled is not None and now - stalled > self.config.slow_reader * 1e9:
                self.event_loop.close(connection)
        for session in list(self.sessions.values()):
            idle = session.connection is None and not session.restoring
            if idle and now - session.detached_since > self.config.linger * 1e9:
                self._registry.end(session)
        self._report()
        if self._dropped:
            self._dropped = False
            gc.collect()
        self._untouched += 1
        if self._untouched >= TOUCH:
            self._untouched = 0
            self._touch_models()
        if self._adopted_at is not None and now - self._adopted_at > TAKEOVER:
            self._warm_spare.clear()
        if self.draining_until is not None:
            rest = [session for session in self.sessions.values() if session.at_rest]
            for session in list(self.sessions.values()) if now >= self.draining_until else rest:
                self._registry.end(session)
            self._running = bool(self.sessions) and now < self.draining_until

    def _report(self) -> None:
        """Reports, unless the front end has no room for it: the next report says it all again."""
        streams = gauges(self.sessions.values())
        now = snapshot(
            self.metrics,
            self.sessions.values(),
            busy=self._take_busy(time.monotonic_ns()),
            builds=self._builder.jobs,
            connections=len(self.event_loop.connections),
        )
        with contextlib.suppress(ConnectionError):
            if control.offer(self._end, control.Report(now, len(streams))):
                for gauge in streams:
                    if not control.offer(self._end, control.Gauge(gauge)):
                        return

    def _touch_models(self) -> None:
        for session in self.sessions.values():
            for server_stream in session.streams.values():
                self._services.models.touch(server_stream.options.model)
                self._services.models.touch(server_stream.session.model)

    def _drain(self) -> None:
        now = time.monotonic_ns()
        self.draining_until = now + round(self.config.drain * 1e9)
        self._housekeeping = now
        self._registry.draining = True
        for session in self.sessions.values():
            session.draining = True
            if session.connection is not None:
                message = "the server ends when the shots in flight are done"
                self.event_loop.send(
                    session.connection, [error_frame(0, ErrorCode.DRAINING, "connection", message)]
                )

    def _finish(self) -> None:
        for session in list(self.sessions.values()):
            self._registry.end(session)
        for connection in list(self.event_loop.connections.values()):
            connection.close()
        self._builder.close()
        self._end.close()


def main(arguments: list[str]) -> None:
    """Runs a worker on the file descriptor given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the front end, which drains
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with(int(arguments[1]))
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.freeze()  # what was imported stays; collections are shorter without it
    end = socket.socket(fileno=int(arguments[0]))
    config = end.recv(control.MAX_MESSAGE)
    if config:
        worker = Worker(end, msgspec.msgpack.decode(config, type=WorkerConfig))
        control.send(end, control.Ready(os.getpid()))
        worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
