"""The streams of one client: OPEN, CLOSE, UPLOAD and RELOAD, and who gets the other frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from decoder_service.protocol import (
    PING_BYTES,
    Close,
    ErrorCode,
    Frame,
    FrameType,
    Open,
    PayloadError,
    Reload,
    UploadPayload,
    WireFault,
    decode_message,
    decode_upload,
    encode_message,
    encode_upload,
)
from decoder_service.server.background_build import BackgroundBuild
from decoder_service.server.connection import Connection
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.journal import JournalError
from decoder_service.server.models import ModelLimitError, UnknownModelError, Upload
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.services import Services, error_frame
from decoder_service.session import OrderingConfig, StreamSession

WHOLE_SESSION = 0xFFFFFFFF
"""Stream number of a CLOSE that ends the session."""


class ClientSession:
    """All streams under one session name, with the connection they are on at the moment."""

    def __init__(self, name: str, services: Services) -> None:
        self.name = name
        self.streams: dict[int, ServerStream] = {}
        self.connection: Connection | None = None
        self.detached_since = 0
        self.over = False
        """Ended by its client: nothing of it is to be resumed."""
        self.ended = False
        """Taken out of the worker, by whatever; nothing may be added any more."""
        self.restoring = False
        """Its streams are being made from their journals; a connection has to wait for them."""
        self.draining = False
        self._services = services
        self._opening: set[int] = set()
        self._upload = Upload(services.uploads)
        self._waiting: deque[tuple[Frame, ServerStream, int]] = deque()
        """PING and CLOSE frames, each with the place that must be decoded before its answer."""
        self.announced: set[int] = set()
        """Streams with an OPENED on the present connection; before it, outputs are only kept."""
        self.outbox: list[Frame] = []
        """Frames that are ready at a time when no frame of the client is being answered."""
        self._background_build = BackgroundBuild(services, say=lambda frames: self.outbox.extend(frames))

    def handle(self, item: Frame | WireFault, now: int) -> list[Frame]:
        """The answers to what arrived."""
        server_stream = self.streams.get(item.stream)
        if isinstance(item, WireFault):
            if server_stream is None or item.fatal:
                return [error_frame(item.stream, ErrorCode.BAD_FRAME, "frame", item.detail)]
            return server_stream.session.fault(item, now)
        if item.type in _CONTROL:
            return self._control(item)
        if server_stream is not None:
            return server_stream.session.receive(item, now)
        message = f"{item.type.name} for stream {item.stream}, which is not open"
        return [error_frame(item.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]

    def add(self, server_stream: ServerStream) -> None:
        """Takes in a stream that was opened or restored."""
        self.streams[server_stream.session.stream] = server_stream
        self._services.opened(self.name, server_stream)
        self._background_build.complete(server_stream)

    def attach(self, connection: Connection, now: int) -> None:
        """Goes on over this connection."""
        if connection is not self.connection:
            self.announced.clear()
        self.connection = connection
        connection.session = self.name
        for server_stream in self.streams.values():
            server_stream.session.resume_deadlines(now)

    def detach(self) -> None:
        """Goes on without a connection, for a while."""
        self.connection = None
        self.detached_since = time.monotonic_ns()
        self._upload.drop()

    def close_stream(self, server_stream: ServerStream, *, over: bool) -> None:
        """Takes a stream out; `over` if it is not to be resumed. Raises JournalError."""
        del self.streams[server_stream.session.stream]
        self._services.closed(self.name, server_stream)
        server_stream.close(over=over)

    def answer_waiting(self) -> list[Frame]:
        """Answers to the PINGs and CLOSEs that everything before them is decoded for."""
        replies: list[Frame] = []
        for _ in range(len(self._waiting)):
            frame, server_stream, place = waiting = self._waiting.popleft()
            if (
                self.streams.get(frame.stream) is server_stream
                and server_stream.session.ordering.decoded < place
            ):
                self._waiting.append(waiting)
            elif frame.type == FrameType.PING:
                replies += self._echo(frame, server_stream)
            else:
                replies += self._closed(frame, server_stream)
        return replies

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight."""
        return not self._opening and all(
            server_stream.session.ordering.in_flight == 0 and server_stream.session.at_boundary
            for server_stream in self.streams.values()
        )

    def _control(self, frame: Frame) -> list[Frame]:
        try:
            return _CONTROL[frame.type](self, frame)
        except PayloadError as error:
            return [error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", str(error))]
        except ModelLimitError as error:
            return [error_frame(frame.stream, ErrorCode.LIMIT, "frame", str(error))]
        except JournalError as error:
            return [error_frame(frame.stream, ErrorCode.JOURNAL_FAILED, "stream", str(error))]
        except OSError as error:
            return [error_frame(frame.stream, ErrorCode.INTERNAL, "frame", str(error))]

    def _open(self, frame: Frame) -> list[Frame]:
        options = decode_message(frame.payload, Open)
        stream = frame.stream
        server_stream = self.streams.get(stream)
        refusal = self._refusal(stream, options, server_stream)
        if refusal is not None:
            return [error_frame(stream, refusal[0], "stream", refusal[1])]
        if server_stream is not None and options.resume_after is not None:
            resent = server_stream.session.resend(options.resume_after)
            if resent is None:
                message = (
                    f"outputs after {options.resume_after} of {server_stream.session.outputs} are not kept"
                )
                return [error_frame(stream, ErrorCode.RESUME_LOST, "stream", message)]
            self.announced.add(stream)
            return [server_stream.head()[1], *resent]
        if stream in self._opening:
            return []  # OPENED comes when it is built
        self._opening.add(stream)
        self._services.later(
            lambda: self._services.build(options, self._services.models.text(options.model)),
            lambda decoder, error: self._opened(stream, options, decoder, error),
        )
        return []

    def _refusal(
        self, stream: int, options: Open, server_stream: ServerStream | None
    ) -> tuple[ErrorCode, str] | None:
        limit = self._services.config.streams
        if stream == WHOLE_SESSION:
            return ErrorCode.UNKNOWN_STREAM, f"stream {stream} stands for the session"
        opening = stream in self._opening
        if (opening or server_stream is not None) and options.resume_after is None:
            return ErrorCode.STREAM_EXISTS, f"stream {stream} is open already"
        if server_stream is None and not opening and options.resume_after is not None:
            return ErrorCode.RESUME_LOST, f"stream {stream} is not known any more"
        if server_stream is None and self.draining:
            return ErrorCode.DRAINING, "the server is about to end"
        if server_stream is None and len(self.streams) + len(self._opening) >= limit:
            return ErrorCode.LIMIT, f"{limit} streams are open, which is the limit"
        return None

    def _opened(
        self, stream: int, options: Open, decoder: RoundDecoder | None, error: BaseException | None
    ) -> None:
        self._opening.discard(stream)
        if self.ended:
            return
        if decoder is None:
            unknown = isinstance(error, UnknownModelError)
            code = ErrorCode.UNKNOWN_MODEL if unknown else ErrorCode.BAD_MODEL
            self.outbox.append(error_frame(stream, code, "stream", str(error)))
            return
        config = self._services.config
        ordering = OrderingConfig(
            window=config.window, gap_deadline=round(config.gap_deadline * 1e9), on_gap=options.on_gap
        )
        session = StreamSession(
            stream, decoder.shape, ordering, model=options.model, model_id=decoder.model_id
        )
        try:
            server_stream = ServerStream(session, options, decoder, segment_bytes=config.segment_bytes)
            server_stream.begin_journal(config.folder, self.name, keep=not config.prune)
        except OSError as failure:
            self.outbox.append(error_frame(stream, ErrorCode.JOURNAL_FAILED, "stream", str(failure)))
            return
        self.add(server_stream)
        self.announced.add(stream)
        self.outbox.append(server_stream.head()[1])

    def _reload(self, frame: Frame) -> list[Frame]:
        server_stream = self.streams.get(frame.stream)
        if server_stream is None:
            message = f"RELOAD for stream {frame.stream}, which is not open"
            return [error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]
        return self._background_build.reload(server_stream, decode_message(frame.payload, Reload))

    def _close(self, frame: Frame) -> list[Frame]:
        if frame.stream == WHOLE_SESSION:
            self.over = True
            return [Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close()))]
        server_stream = self.streams.get(frame.stream)
        if server_stream is None:
            message = f"CLOSE of stream {frame.stream}, which is not open"
            return [error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]
        self._waiting.append((frame, server_stream, server_stream.session.ordering.expected))
        return []

    def _closed(self, frame: Frame, server_stream: ServerStream) -> list[Frame]:
        if self.streams.get(frame.stream) is not server_stream:
            return []
        try:
            self.close_stream(server_stream, over=True)
        except OSError as error:
            return [error_frame(frame.stream, ErrorCode.JOURNAL_FAILED, "stream", str(error))]
        closed = Close(outputs=server_stream.session.outputs)
        return [Frame(FrameType.CLOSE, frame.stream, payload=encode_message(closed))]

    def _uploaded(self, frame: Frame) -> list[Frame]:
        part = decode_upload(frame.payload)
        text = self._upload.add(part)
        if text is not None:
            self._services.later(
                lambda: self._services.models.put(text, digest=part.digest),
                lambda _, error: self.outbox.append(_stored(part, error)),
            )
        return []

    def _ping(self, frame: Frame) -> list[Frame]:
        """What came before it is decoded first, so that the CREDIT in the answer speaks of all of it."""
        echo = frame._replace(payload=frame.payload[:PING_BYTES])
        server_stream = self.streams.get(frame.stream)
        if server_stream is None:
            return [echo]
        self._waiting.append((echo, server_stream, server_stream.session.ordering.expected))
        return []

    def _echo(self, frame: Frame, server_stream: ServerStream) -> list[Frame]:
        if self.streams.get(frame.stream) is not server_stream:
            return [frame]
        return [frame, *server_stream.session.credit(force=True)]

    def _hello(self, frame: Frame) -> list[Frame]:
        return [error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", "HELLO was said already")]


_CONTROL: dict[FrameType, Callable[[ClientSession, Frame], list[Frame]]] = {
    FrameType.OPEN: ClientSession._open,
    FrameType.RELOAD: ClientSession._reload,
    FrameType.CLOSE: ClientSession._close,
    FrameType.UPLOAD: ClientSession._uploaded,
    FrameType.HELLO: ClientSession._hello,
    FrameType.PING: ClientSession._ping,
}


def _stored(part: UploadPayload, error: BaseException | None) -> Frame:
    """The answer to the last part of an UPLOAD."""
    if error is None:
        stored = UploadPayload(part.digest, part.total, part.total, b"")
        return Frame(FrameType.UPLOAD, payload=encode_upload(stored))
    code = ErrorCode.INTERNAL
    if isinstance(error, PayloadError | ModelLimitError):
        code = ErrorCode.LIMIT if isinstance(error, ModelLimitError) else ErrorCode.BAD_FRAME
    return error_frame(0, code, "frame", str(error))
