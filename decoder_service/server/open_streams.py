"""The streams of one client: OPEN, CLOSE and RELOAD. Their rows are the data plane's."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import msgspec

from _qecpipe import Blocked, ControlFrame, Damaged, JournalDue, JournalFailed, Session, Swapped
from decoder_service.building import ServedDecoder
from decoder_service.protocol import (
    Close,
    ErrorCode,
    Frame,
    FrameType,
    Open,
    PayloadError,
    Reload,
    Scope,
    decode_message,
    encode_frame,
    encode_message,
    error_frame,
)
from decoder_service.server.jobs import Jobs, SessionUpload
from decoder_service.server.server_stream import ServerStream
from decoder_service.store import (
    JournalError,
    ModelLimitError,
    Position,
    RestoredStream,
    UnknownModelError,
)
from decoder_service.streaming import StreamModel

_REFUSALS = {UnknownModelError: ErrorCode.UNKNOWN_MODEL, ModelLimitError: ErrorCode.LIMIT}
WHOLE_SESSION = 0xFFFFFFFF
"""Stream number of a CLOSE that ends the session."""


class RefusedError(Exception):
    """What a client asked for cannot be; it is told so."""

    def __init__(self, code: ErrorCode, message: str, scope: Scope = "stream") -> None:
        super().__init__(message)
        self.code = code
        self.scope: Scope = scope


class OpenStreams:
    """What the control plane does with a session's streams, in the session's thread.

    Args:
        session: its name.
        jobs: what the worker does for it.
        plane: has the rows, and sends the answers.
        post: does something in the session's thread, called from the worker's loop.
    """

    def __init__(
        self, session: str, jobs: Jobs, plane: Session, post: Callable[[Callable[[], None]], None]
    ) -> None:
        self.by_number: dict[int, ServerStream] = {}
        self.over = False
        """The session was ended by its client: nothing of it is to be resumed."""
        self.draining = False
        """No stream is opened any more."""
        self._session = session
        self._jobs = jobs
        self._plane = plane
        self._post = post
        self._opening: set[int] = set()
        self.upload = SessionUpload(session, jobs, self._answer, self._send)

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight, and none is being opened."""
        return not self._opening and self._plane.at_rest

    def handle_events(self) -> bool:
        """Does what the data plane asks for; whether that was anything.

        What happened comes before what the client asks for, whatever the order of the events: answers must
        know of it. So OPENED names the model that holds.
        """
        events = self._plane.take_events()
        for event in sorted(events, key=lambda event: isinstance(event, ControlFrame)):
            if isinstance(event, ControlFrame):
                place = (event.stream, event.epoch, event.sequence)
                self._control(Frame(FrameType(event.type), *place, event.payload, event.flags))
            elif isinstance(event, Damaged):
                self._jobs.metrics.fault(event.kind)
            else:
                self._happened(self.by_number[event.stream], event)
        return bool(events)

    def _happened(self, stream: ServerStream, event: Swapped | Blocked | JournalDue | JournalFailed) -> None:
        if isinstance(event, Swapped):
            stream.swapped()
        elif isinstance(event, Blocked):
            stream.build_missing()
            self._plane.unblock(stream.number)
        elif isinstance(event, JournalDue):
            self._rotate(stream)
        else:
            self._journal_failed(stream, event.reason)

    def add(self, restored: RestoredStream[ServedDecoder]) -> None:
        """Takes in a stream from its journal."""
        stream = ServerStream(restored.head, restored.decoder, restored.journal, self._plane)
        self._adopt(stream, restored.position)
        self._plane.keep(stream.number, b"".join(map(encode_frame, restored.kept)))
        if restored.conflict:
            self._plane.mark_conflict(stream.number)

    def sample(self, *, connected: bool) -> None:
        """Has every stream shown as it is now, and counted what it did since the last time."""
        streams = self.by_number.values()
        self._jobs.samples.add(self._session, [(s.meter, s.sample(connected=connected)) for s in streams])

    def models(self) -> set[str]:
        """Digests of those in use; for any thread."""
        return set().union(*(stream.head.models for stream in list(self.by_number.values())))

    def end(self) -> None:
        """Takes out all streams, for good if the session is over; else their journals stay."""
        for stream in list(self.by_number.values()):
            self._drop(stream, over=self.over)
        self.upload.drop()

    # Frames of the client.

    def _control(self, frame: Frame) -> None:
        try:
            _CONTROL[frame.type](self, frame)
        except PayloadError as error:
            self._send(error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", str(error)))
        except ModelLimitError as error:
            self._send(error_frame(frame.stream, ErrorCode.LIMIT, "frame", str(error)))
        except RefusedError as error:
            self._send(error_frame(frame.stream, error.code, error.scope, str(error)))

    def _open(self, frame: Frame) -> None:
        options = decode_message(frame.payload, Open)
        number = frame.stream
        stream = self.by_number.get(number)
        self._check_open(number, resumes=options.resume_after is not None)
        if stream is not None and options.resume_after is not None:
            self._resume(stream, options.resume_after)
        elif number not in self._opening:  # else OPENED comes when it is built
            self._opening.add(number)
            options = msgspec.structs.replace(options, resume_after=None)
            self._jobs.decoder(self._session, options, self._answer(self._opened, number, options))

    def _resume(self, stream: ServerStream, after: int) -> None:
        number = stream.number
        resent = self._plane.resend(number, after)
        if resent is None:
            message = f"outputs after {after} of {stream.position.outputs} are not kept"
            raise RefusedError(ErrorCode.RESUME_LOST, message)
        self._send(stream.opened())
        self._plane.send(resent)
        self._plane.announce(number)

    def _check_open(self, number: int, *, resumes: bool) -> None:
        """Raises RefusedError where a stream of this number cannot be opened, or taken up again."""
        if number == WHOLE_SESSION:
            raise RefusedError(ErrorCode.UNKNOWN_STREAM, f"stream {number} stands for the session")
        if number in self._opening or number in self.by_number:
            if not resumes:
                raise RefusedError(ErrorCode.STREAM_EXISTS, f"stream {number} is open already")
            return
        if resumes:
            raise RefusedError(ErrorCode.RESUME_LOST, f"stream {number} is not known any more")
        if self.draining:
            raise RefusedError(ErrorCode.DRAINING, "the server is about to end")
        limit = self._jobs.config.streams
        if len(self.by_number) + len(self._opening) >= limit:
            raise RefusedError(ErrorCode.LIMIT, f"{limit} streams are open, which is the limit")

    def _reload(self, frame: Frame) -> None:
        stream = self._stream(frame)
        reload = decode_message(frame.payload, Reload)
        if stream.wanted is not None:
            message = f"the reload of {stream.wanted.model[:16]} is not finished"
            raise RefusedError(ErrorCode.RELOAD_BUSY, message, "frame")
        stream.wanted = reload
        made = self._answer(self._reloaded, stream)
        self._jobs.model(self._session, stream.head, reload, stream.decoder, made)

    def _close(self, frame: Frame) -> None:
        """Everything before it is decoded."""
        if frame.stream == WHOLE_SESSION:
            self.over = True
            self._send(Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close())))
            return
        stream = self._stream(frame)
        closed = Close(outputs=self._plane.outputs(frame.stream))
        self._drop(stream, over=True)
        self._send(Frame(FrameType.CLOSE, frame.stream, payload=encode_message(closed)))

    def _stream(self, frame: Frame) -> ServerStream:
        """The one that it is for. Raises RefusedError if it is not open."""
        stream = self.by_number.get(frame.stream)
        if stream is None:
            message = f"{frame.type.name} for stream {frame.stream}, which is not open"
            raise RefusedError(ErrorCode.UNKNOWN_STREAM, message, "frame")
        return stream

    def _hello(self, frame: Frame) -> None:
        raise RefusedError(ErrorCode.BAD_FRAME, "HELLO was said already", "frame")

    # Answers to what the worker was asked for.

    def _answer(self, say: Callable[..., None], *about: Any) -> Callable[[Any], None]:
        """Has `say(*about, made)` done in the session's thread, for whatever was made."""
        return lambda made: self._post(functools.partial(say, *about, made))

    def _opened(self, number: int, options: Open, made: ServedDecoder | Exception) -> None:
        self._opening.discard(number)
        stream: ServerStream | Exception
        code = _REFUSALS.get(type(made), ErrorCode.BAD_MODEL)
        try:
            stream = made if isinstance(made, Exception) else self._begun(number, options, made)
        except ValueError as error:
            stream = error
        except OSError as error:
            stream, code = error, ErrorCode.JOURNAL_FAILED
        if isinstance(stream, Exception):
            self._send(error_frame(number, code, "stream", str(stream)))
            return
        self._adopt(stream, Position(0, 0, 0))
        self._send(stream.opened())
        self._plane.announce(number)

    def _begun(self, number: int, options: Open, decoder: ServedDecoder) -> ServerStream:
        return ServerStream.begun(self._session, number, options, decoder, self._plane, self._jobs.config)

    def _reloaded(self, stream: ServerStream, made: StreamModel | Exception) -> None:
        """The new model takes over at the next window boundary, or the old one goes on as before."""
        if self.by_number.get(stream.number) is not stream or stream.wanted is None:
            return
        if not isinstance(made, Exception):
            stream.prepare(made)
            self._plane.swap(stream.number, stream.wanted.model, stream.wanted.kind)
            return
        message = f"model {stream.wanted.model[:16]}: {made}"
        stream.wanted = None
        self._jobs.event("reload rejected", stream=stream.number, reason=str(made))
        self._send(error_frame(stream.number, ErrorCode.RELOAD_REJECTED, "frame", message))

    # Streams and their journals.

    def _adopt(self, stream: ServerStream, position: Position) -> None:
        stream.join(position, segment_bytes=self._jobs.config.segment_bytes)
        self.by_number[stream.number] = stream
        self._jobs.event("stream opened", session=self._session[:8], **stream.described())

    def _drop(self, stream: ServerStream, *, over: bool) -> None:
        """Takes a stream out: for good, or so that it can be restored."""
        sample = stream.sample(connected=False)
        self._jobs.samples.add_last(self._session, stream.meter, sample)
        del self.by_number[stream.number]
        try:
            stream.leave(over=over)
        except OSError as error:
            self._jobs.event("journal not closed", stream=stream.number, reason=str(error))
        shown = {name: sample.totals[name] for name in ("shots", "commits", "erased", "failed")}
        self._jobs.event("stream closed", session=self._session[:8], stream=stream.number, **shown)

    def _rotate(self, stream: ServerStream) -> None:
        try:
            stream.rotate()
        except JournalError as error:
            self._plane.close(stream.number)
            self._journal_failed(stream, str(error))

    def _journal_failed(self, stream: ServerStream, reason: str) -> None:
        """The data plane has it no more; what it did not write it did not send either."""
        del self.by_number[stream.number]
        with contextlib.suppress(OSError):  # a file system that says so again as the file is closed
            stream.journal.close()
        self._jobs.event("journal failed", session=self._session[:8], stream=stream.number, reason=reason)
        self._send(error_frame(stream.number, ErrorCode.JOURNAL_FAILED, "stream", reason))

    def _send(self, frame: Frame) -> None:
        self._plane.send(encode_frame(frame))


_CONTROL: dict[FrameType, Callable[[OpenStreams, Frame], None]] = {
    FrameType.OPEN: OpenStreams._open,
    FrameType.RELOAD: OpenStreams._reload,
    FrameType.CLOSE: OpenStreams._close,
    FrameType.UPLOAD: lambda streams, frame: streams.upload.take(frame),
    FrameType.HELLO: OpenStreams._hello,
}
