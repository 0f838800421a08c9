"""The streams of one client: OPEN, CLOSE, UPLOAD and RELOAD. Their rows are the data plane's."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import msgspec

from _qecpipe import Blocked, ControlFrame, Damaged, JournalDue, JournalFailed, Session, Swapped
from decoder_service.protocol import (
    Close,
    Error,
    ErrorCode,
    Frame,
    FrameType,
    Open,
    PayloadError,
    Reload,
    Scope,
    UploadPayload,
    decode_message,
    decode_upload,
    encode_frame,
    encode_message,
    encode_upload,
)
from decoder_service.server.decoding import ServedDecoder
from decoder_service.server.jobs import Jobs
from decoder_service.server.server_stream import ServerStream
from decoder_service.store import (
    JournalError,
    ModelLimitError,
    Position,
    RestoredStream,
    UnknownModelError,
    Upload,
)
from decoder_service.streaming import StreamModel

WHOLE_SESSION = 0xFFFFFFFF
"""Stream number of a CLOSE that ends the session."""


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
        self._upload = Upload(jobs.uploads)

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight, and none is being opened."""
        return not self._opening and self._plane.at_rest

    def handle_events(self) -> bool:
        """Does what the data plane asks for; whether that was anything.

        What happened in the data plane comes before what the client asks for: it has happened by now,
        whatever the order of the events, and answers must know of it. So OPENED names the model that holds.
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
        number = restored.head.number
        self._adopt(ServerStream.restored(restored, self._plane), restored.position)
        self._plane.keep(number, b"".join(map(encode_frame, restored.kept)))
        if restored.conflict:
            self._plane.mark_conflict(number)

    def drop_upload(self) -> None:
        """Forgets what came of a model that is not whole."""
        self._upload.drop()

    def sample(self, *, connected: bool) -> None:
        """Has every stream shown as it is now, and counted what it did since the last time."""
        streams = self.by_number.values()
        self._jobs.samples.add(self._session, [(s.meter, s.sample(connected=connected)) for s in streams])

    def models(self) -> set[str]:
        """Digests of those in use; for any thread."""
        heads = [stream.head for stream in list(self.by_number.values())]
        return {head.options.model for head in heads} | {
            head.reloaded.model for head in heads if head.reloaded
        }

    def end(self) -> None:
        """Takes out all streams, for good if the session is over; else their journals stay."""
        for stream in list(self.by_number.values()):
            self._drop(stream, over=self.over)
        self.drop_upload()

    # Frames of the client.

    def _control(self, frame: Frame) -> None:
        try:
            _CONTROL[frame.type](self, frame)
        except PayloadError as error:
            self._send(error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", str(error)))
        except ModelLimitError as error:
            self._send(error_frame(frame.stream, ErrorCode.LIMIT, "frame", str(error)))

    def _open(self, frame: Frame) -> None:
        options = decode_message(frame.payload, Open)
        number = frame.stream
        stream = self.by_number.get(number)
        refusal = self._refusal(number, options, stream)
        if refusal is not None:
            self._send(error_frame(number, refusal[0], "stream", refusal[1]))
        elif stream is not None and options.resume_after is not None:
            self._resume(stream, options.resume_after)
        elif number not in self._opening:  # else OPENED comes when it is built
            self._opening.add(number)
            options = msgspec.structs.replace(options, resume_after=None)
            answer = functools.partial(self._opened, number, options)
            self._jobs.decoder(self._session, options, lambda made: self._post(lambda: answer(made)))

    def _resume(self, stream: ServerStream, after: int) -> None:
        number = stream.number
        resent = self._plane.resend(number, after)
        if resent is None:
            message = f"outputs after {after} of {stream.position.outputs} are not kept"
            self._send(error_frame(number, ErrorCode.RESUME_LOST, "stream", message))
            return
        self._send(stream.opened())
        self._plane.send(resent)
        self._plane.announce(number)

    def _refusal(
        self, number: int, options: Open, stream: ServerStream | None
    ) -> tuple[ErrorCode, str] | None:
        limit = self._jobs.config.streams
        if number == WHOLE_SESSION:
            return ErrorCode.UNKNOWN_STREAM, f"stream {number} stands for the session"
        opening = number in self._opening
        if (opening or stream is not None) and options.resume_after is None:
            return ErrorCode.STREAM_EXISTS, f"stream {number} is open already"
        if stream is None and not opening and options.resume_after is not None:
            return ErrorCode.RESUME_LOST, f"stream {number} is not known any more"
        if stream is None and self.draining:
            return ErrorCode.DRAINING, "the server is about to end"
        if stream is None and not opening and len(self.by_number) + len(self._opening) >= limit:
            return ErrorCode.LIMIT, f"{limit} streams are open, which is the limit"
        return None

    def _reload(self, frame: Frame) -> None:
        stream = self.by_number.get(frame.stream)
        if stream is None:
            message = f"RELOAD for stream {frame.stream}, which is not open"
            self._send(error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message))
            return
        reload = decode_message(frame.payload, Reload)
        if stream.wanted is not None:
            message = f"the reload of {stream.wanted.model[:16]} is not finished"
            self._send(error_frame(frame.stream, ErrorCode.RELOAD_BUSY, "frame", message))
            return
        stream.wanted = reload
        answer = functools.partial(self._reloaded, stream)
        self._jobs.model(
            self._session, stream.head, reload, stream.decoder, lambda made: self._post(lambda: answer(made))
        )

    def _close(self, frame: Frame) -> None:
        """Everything before it is decoded."""
        if frame.stream == WHOLE_SESSION:
            self.over = True
            self._send(Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close())))
            return
        stream = self.by_number.get(frame.stream)
        if stream is None:
            message = f"CLOSE of stream {frame.stream}, which is not open"
            self._send(error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message))
            return
        closed = Close(outputs=self._plane.outputs(frame.stream))
        self._drop(stream, over=True)
        self._send(Frame(FrameType.CLOSE, frame.stream, payload=encode_message(closed)))

    def _uploaded(self, frame: Frame) -> None:
        part = decode_upload(frame.payload)
        text = self._upload.add(part)
        if text is not None:
            answer = functools.partial(self._stored, part)
            self._jobs.store(self._session, part, text, lambda stored: self._post(lambda: answer(stored)))

    def _hello(self, frame: Frame) -> None:
        self._send(error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", "HELLO was said already"))

    # Answers to what the worker was asked for.

    def _opened(self, number: int, options: Open, made: ServedDecoder | Exception) -> None:
        self._opening.discard(number)
        stream: ServerStream | Exception
        code = ErrorCode.UNKNOWN_MODEL if isinstance(made, UnknownModelError) else ErrorCode.BAD_MODEL
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

    def _stored(self, part: UploadPayload, stored: str | Exception) -> None:
        """The answer to the last part of an UPLOAD."""
        if isinstance(stored, str):
            whole = UploadPayload(part.digest, part.total, part.total, b"")
            self._send(Frame(FrameType.UPLOAD, payload=encode_upload(whole)))
            return
        code = ErrorCode.INTERNAL
        if isinstance(stored, PayloadError | ModelLimitError):
            code = ErrorCode.LIMIT if isinstance(stored, ModelLimitError) else ErrorCode.BAD_FRAME
        self._send(error_frame(0, code, "frame", str(stored)))

    # Streams and their journals.

    def _adopt(self, stream: ServerStream, position: Position) -> None:
        stream.join(position, segment_bytes=self._jobs.config.segment_bytes)
        self.by_number[stream.number] = stream
        inner = stream.decoder.inner
        network = {} if inner.device is None else {"device": inner.device}
        if inner.models.fell_back:
            from predecoder.inference import why_not_cuda

            network["why_no_gpu"] = str(why_not_cuda())
        self._jobs.event(
            "stream opened",
            session=self._session[:8],
            stream=stream.number,
            model=stream.decoder.model_id.hex(),
            rounds=stream.decoder.shape.rounds,
            decoder=stream.head.options.decoder,
            **network,
        )

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
    FrameType.UPLOAD: OpenStreams._uploaded,
    FrameType.HELLO: OpenStreams._hello,
}


def error_frame(stream: int, code: ErrorCode, scope: Scope, message: str) -> Frame:
    """An ERROR about a stream, or, with stream 0 and scope connection, about all."""
    return Frame(FrameType.ERROR, stream, payload=encode_message(Error(code, scope, message[:1000])))
