"""The streams of one client: OPEN, CLOSE, UPLOAD and RELOAD, and who gets the other frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from decoder_service.server.connection import Connection
from decoder_service.server.decoding import RoundDecoder
from decoder_service.server.hosted import HostedStream, journal_folder
from decoder_service.server.journal import Journal, JournalError
from decoder_service.server.models import ModelLimitError, UnknownModelError, Upload
from decoder_service.server.renewal import Renewal
from decoder_service.server.services import Services, error_frame
from decoder_service.session import IntakeConfig, StreamSession
from decoder_service.wire import (
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

WHOLE_SESSION = 0xFFFFFFFF
"""Stream number of a CLOSE that ends the session."""


class Session:
    """All streams under one session name, with the connection they are on at the moment."""

    def __init__(self, name: str, services: Services) -> None:
        self.name = name
        self.streams: dict[int, HostedStream] = {}
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
        self._upload = Upload(max_bytes=services.config.model_bytes)
        self._waiting: deque[tuple[Frame, HostedStream, int]] = deque()
        """PING and CLOSE frames, each with the place that must be decoded before its answer."""
        self.announced: set[int] = set()
        """Streams with an OPENED on the present connection; before it, outputs are only kept."""
        self.outbox: list[Frame] = []
        """Frames that are ready at a time when no frame of the client is being answered."""
        self._renewal = Renewal(services, say=lambda frames: self.outbox.extend(frames))

    def handle(self, item: Frame | WireFault, now: int) -> list[Frame]:
        """The answers to what arrived."""
        hosted = self.streams.get(item.stream)
        if isinstance(item, WireFault):
            if hosted is None or item.fatal:
                return [error_frame(item.stream, ErrorCode.BAD_FRAME, "frame", item.detail)]
            return hosted.session.fault(item, now)
        if item.type in _CONTROL:
            return self._control(item)
        if hosted is not None:
            return hosted.session.receive(item, now)
        message = f"{item.type.name} for stream {item.stream}, which is not open"
        return [error_frame(item.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]

    def add(self, hosted: HostedStream) -> None:
        """Takes in a stream that was opened or restored."""
        self.streams[hosted.session.stream] = hosted
        self._services.opened(self.name, hosted)
        self._renewal.complete(hosted)

    def attach(self, connection: Connection, now: int) -> None:
        """Goes on over this connection."""
        if connection is not self.connection:
            self.announced.clear()
        self.connection = connection
        connection.session = self.name
        for hosted in self.streams.values():
            hosted.session.heard_again(now)

    def detach(self) -> None:
        """Goes on without a connection, for a while."""
        self.connection = None
        self.detached_since = time.monotonic_ns()
        self._upload = Upload(max_bytes=self._services.config.model_bytes)

    def close_stream(self, hosted: HostedStream, *, over: bool) -> None:
        """Takes a stream out; `over` if it is not to be resumed. Raises JournalError."""
        del self.streams[hosted.session.stream]
        self._services.closed(self.name, hosted)
        try:
            hosted.close(over=over)
        finally:
            if over and hosted.journal is not None and self._services.config.prune:
                hosted.journal.remove()

    def answer_waiting(self) -> list[Frame]:
        """Answers to the PINGs and CLOSEs that everything before them is decoded for."""
        replies: list[Frame] = []
        for _ in range(len(self._waiting)):
            frame, hosted, place = waiting = self._waiting.popleft()
            if self.streams.get(frame.stream) is hosted and hosted.session.intake.decoded < place:
                self._waiting.append(waiting)
            elif frame.type == FrameType.PING:
                replies += self._echo(frame, hosted)
            else:
                replies += self._closed(frame, hosted)
        return replies

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight."""
        return not self._opening and all(
            hosted.session.intake.in_flight == 0 and hosted.session.at_boundary
            for hosted in self.streams.values()
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
        hosted = self.streams.get(stream)
        refusal = self._refusal(stream, options, hosted)
        if refusal is not None:
            return [error_frame(stream, refusal[0], "stream", refusal[1])]
        if hosted is not None and options.resume_after is not None:
            resent = hosted.session.resend(options.resume_after)
            if resent is None:
                message = f"outputs after {options.resume_after} of {hosted.session.outputs} are not kept"
                return [error_frame(stream, ErrorCode.RESUME_LOST, "stream", message)]
            self.announced.add(stream)
            return [hosted.head()[1], *resent]
        if stream in self._opening:
            return []  # OPENED comes when it is built
        self._opening.add(stream)
        self._services.later(
            lambda: self._services.build(options, self._services.models.text(options.model)),
            lambda decoder, error: self._opened(stream, options, decoder, error),
        )
        return []

    def _refusal(
        self, stream: int, options: Open, hosted: HostedStream | None
    ) -> tuple[ErrorCode, str] | None:
        limit = self._services.config.streams
        if stream == WHOLE_SESSION:
            return ErrorCode.UNKNOWN_STREAM, f"stream {stream} stands for the session"
        opening = stream in self._opening
        if (opening or hosted is not None) and options.resume_after is None:
            return ErrorCode.STREAM_EXISTS, f"stream {stream} is open already"
        if hosted is None and not opening and options.resume_after is not None:
            return ErrorCode.RESUME_LOST, f"stream {stream} is not known any more"
        if hosted is None and self.draining:
            return ErrorCode.DRAINING, "the server is about to end"
        if hosted is None and len(self.streams) + len(self._opening) >= limit:
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
        intake = IntakeConfig(
            window=config.window, gap_deadline=round(config.gap_deadline * 1e9), on_gap=options.on_gap
        )
        session = StreamSession(stream, decoder.shape, intake, model=options.model, model_id=decoder.model_id)
        try:
            folder = journal_folder(Path(config.state))
            journal = Journal(folder, self.name, stream, prune=config.prune)
            hosted = HostedStream(session, options, decoder, journal, segment_bytes=config.segment_bytes)
            hosted.begin_journal()
        except OSError as failure:
            self.outbox.append(error_frame(stream, ErrorCode.JOURNAL_FAILED, "stream", str(failure)))
            return
        self.add(hosted)
        self.announced.add(stream)
        self.outbox.append(hosted.head()[1])

    def _reload(self, frame: Frame) -> list[Frame]:
        hosted = self.streams.get(frame.stream)
        if hosted is None:
            message = f"RELOAD for stream {frame.stream}, which is not open"
            return [error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]
        return self._renewal.reload(hosted, decode_message(frame.payload, Reload))

    def _close(self, frame: Frame) -> list[Frame]:
        if frame.stream == WHOLE_SESSION:
            self.over = True
            return [Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close()))]
        hosted = self.streams.get(frame.stream)
        if hosted is None:
            message = f"CLOSE of stream {frame.stream}, which is not open"
            return [error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message)]
        self._waiting.append((frame, hosted, hosted.session.intake.expected))
        return []

    def _closed(self, frame: Frame, hosted: HostedStream) -> list[Frame]:
        if self.streams.get(frame.stream) is not hosted:
            return []
        try:
            self.close_stream(hosted, over=True)
        except OSError as error:
            return [error_frame(frame.stream, ErrorCode.JOURNAL_FAILED, "stream", str(error))]
        closed = Close(outputs=hosted.session.outputs)
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
        hosted = self.streams.get(frame.stream)
        if hosted is None:
            return [echo]
        self._waiting.append((echo, hosted, hosted.session.intake.expected))
        return []

    def _echo(self, frame: Frame, hosted: HostedStream) -> list[Frame]:
        if self.streams.get(frame.stream) is not hosted:
            return [frame]
        return [frame, *hosted.session.credit(force=True)]

    def _hello(self, frame: Frame) -> list[Frame]:
        return [error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", "HELLO was said already")]


_CONTROL: dict[FrameType, Callable[[Session, Frame], list[Frame]]] = {
    FrameType.OPEN: Session._open,
    FrameType.RELOAD: Session._reload,
    FrameType.CLOSE: Session._close,
    FrameType.UPLOAD: Session._uploaded,
    FrameType.HELLO: Session._hello,
    FrameType.PING: Session._ping,
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
