"""The sessions of a worker: how a connection finds its session, and what becomes of one without."""

from __future__ import annotations

import time
from collections.abc import Callable

from decoder_service.protocol import VERSION, ErrorCode, Frame, FrameType, Welcome, encode_message
from decoder_service.server.builder import Builder
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.connection import Connection
from decoder_service.server.event_loop import EventLoop
from decoder_service.server.journal import segments
from decoder_service.server.restore import restore
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.services import Services, error_frame
from decoder_service.server.warm_spare import WarmSpare


class SessionRegistry:
    """Sessions by name.

    Args:
        event_loop: of the worker.
        warm_spare: decoders that are ready for streams to restore.
        welcomed: told of a connection whose session is there, to serve it from now on.
        ended: told of a session that ended.
    """

    def __init__(
        self,
        config: WorkerConfig,
        event_loop: EventLoop,
        services: Services,
        warm_spare: WarmSpare,
        builder: Builder,
        *,
        welcomed: Callable[[Connection, ClientSession], None],
        ended: Callable[[ClientSession], None],
    ) -> None:
        self.sessions: dict[str, ClientSession] = {}
        self.draining = False
        self._config = config
        self._event_loop = event_loop
        self._services = services
        self._warm_spare = warm_spare
        self._builder = builder
        self._welcomed = welcomed
        self._ended = ended

    def enter(self, name: str, connection: Connection) -> None:
        """A connection of this session: the one in memory, one with journals, or a new one."""
        session = self.sessions.get(name)
        if session is not None:
            if session.connection is not None:
                self._supersede(session.connection)
            session.attach(connection, time.monotonic_ns())
            if not session.restoring:
                self._welcome(session, connection, resumed=True)
            return
        session = self.sessions[name] = ClientSession(name, self._services)
        session.attach(connection, time.monotonic_ns())
        journals = sorted({segment.stream for segment in segments(self._config.folder.journals, name)})
        if not journals:
            self._welcome(session, connection, resumed=False)
            return
        session.restoring = True
        self._builder.later(
            lambda: [self._restore(name, stream) for stream in journals],
            lambda streams, error: self._restored(session, streams, error),
        )

    def left(self, connection: Connection) -> None:
        """The connection is closed; its session waits for another one if there is something to keep."""
        session = self.sessions.get(connection.session)
        if session is not None and session.connection is connection:
            session.detach()
            if not session.streams and not session.restoring and session.at_rest:
                self.end(session)

    def end(self, session: ClientSession) -> None:
        """Forgets a session: for good if it is `over`, else its journals stay."""
        session.ended = True
        for server_stream in list(session.streams.values()):
            self.drop(session, server_stream, over=session.over)
        self.sessions.pop(session.name, None)
        if session.connection is not None:
            self._event_loop.close(session.connection)
        self._ended(session)

    def drop(self, session: ClientSession, server_stream: ServerStream, *, over: bool = False) -> None:
        """Takes a stream out, whatever its disk says."""
        try:
            session.close_stream(server_stream, over=over)
        except OSError as error:
            self._services.event("journal not closed", stream=server_stream.session.stream, reason=str(error))

    def _supersede(self, old: Connection) -> None:
        message = "another connection took over the session"
        self._event_loop.send(old, [error_frame(0, ErrorCode.SUPERSEDED, "connection", message)])
        self._event_loop.close(old)

    def _restore(self, name: str, stream: int) -> ServerStream | None:
        """What a journal leads to; None, and a line in the log, if that is no stream."""
        event = self._services.event
        try:
            restored = restore(
                self._config.folder,
                name,
                stream,
                build=self._warm_spare.build,
                models=self._services.models.get,
                gap_deadline=round(self._config.gap_deadline * 1e9),
                segment_bytes=self._config.segment_bytes,
                keep=not self._config.prune,
            )
        except (ValueError, OSError) as error:
            event("stream lost", session=name[:8], stream=stream, reason=str(error))
            return None
        for damage in restored.damage:
            event("journal damaged", session=name[:8], stream=stream, damage=damage)
        return restored.stream

    def _restored(
        self, session: ClientSession, streams: list[ServerStream | None] | None, error: BaseException | None
    ) -> None:
        session.restoring = False
        for server_stream in streams or ():
            if server_stream is not None:
                session.add(server_stream)
        connection = session.connection
        reason = {} if error is None else {"reason": repr(error)}
        self._services.event("session restored", streams=len(session.streams), **reason)
        if connection is not None:
            self._welcome(session, connection, resumed=bool(session.streams))

    def _welcome(self, session: ClientSession, connection: Connection, *, resumed: bool) -> None:
        limits = self._config.limits
        session.draining = self.draining
        session.attach(connection, time.monotonic_ns())
        welcome = Welcome(
            server=f"qecpipe protocol {VERSION}",
            resumed=resumed,
            round_bytes=limits.round_bytes,
            control_bytes=limits.control_bytes,
            upload_bytes=limits.upload_bytes,
            model_bytes=self._config.model_bytes,
            streams=self._config.streams,
            clock_ns=time.monotonic_ns(),
        )
        self._welcomed(connection, session)
        self._event_loop.send(connection, [Frame(FrameType.HELLO, payload=encode_message(welcome))])
