"""The streams of one client: OPEN, CLOSE, UPLOAD and RELOAD. Their rows are the data plane's.

While it has a connection a session is served by a thread of its own, in `_qecpipe.Session.serve`, without
the interpreter; it comes back here for what is listed above. Without one, whatever is to be done with the
session is done in the worker's loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Protocol

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
from decoder_service.server.config import WorkerConfig
from decoder_service.server.decoding import ServedDecoder
from decoder_service.server.journal import Journal, JournalError
from decoder_service.server.metrics import StreamStatus, WorkerMetrics
from decoder_service.server.models import ModelLimitError, UnknownModelError, Upload, UploadBudget
from decoder_service.server.restore import RestoredStream
from decoder_service.server.scheduling import schedule
from decoder_service.server.server_stream import Position, ServerStream
from decoder_service.streaming import StreamModel

WHOLE_SESSION = 0xFFFFFFFF
"""Stream number of a CLOSE that ends the session."""
TICK = 1.0
"""Seconds between two reports of a session that is served, and looks at its slow reader."""
LAST_WORDS = 1.0
"""Seconds in which a client can take what is left for it at the end of a connection."""
RECEIVE_BYTES = 1 << 16
SAMPLED_ROWS = 100
"""Rounds of a stream that densities are counted of, every `TICK`."""


class Jobs(Protocol):
    """What a session has done for it: the worker. Answers come back by `ClientSession.post`."""

    config: WorkerConfig
    metrics: WorkerMetrics
    uploads: UploadBudget

    def open(self, session: ClientSession, stream: int, options: Open) -> None:
        """Have a decoder made: `opened` follows."""
        ...

    def reload(self, session: ClientSession, stream: ServerStream, reload: Reload) -> None:
        """Have a model made: `reloaded` follows."""
        ...

    def store(self, session: ClientSession, part: UploadPayload, text: bytes) -> None:
        """Have a model stored: `stored` follows."""
        ...

    def event(self, event: str, **fields: str | int | float) -> None:
        """Writes a line to the log."""
        ...

    def left(self, session: ClientSession, connection: int) -> None:
        """The connection is closed and its thread at its end."""
        ...


class ClientSession:
    """All streams under one session name. Where nothing is said, methods are for the thread that has it."""

    def __init__(self, name: str, jobs: Jobs) -> None:
        self.name = name
        self.streams: dict[int, ServerStream] = {}
        self.detached_since = time.monotonic()
        self.over = False
        """Ended by its client: nothing of it is to be resumed."""
        self.failed = False
        """By a fault of ours: it is not served any more; its journals stay."""
        self.draining = False
        self.report: list[StreamStatus] = []
        self._jobs = jobs
        config = jobs.config
        self._plane = Session(
            **config.limits._asdict(),
            faults=config.faults,
            output_bytes=config.output_bytes,
            time_slice_ns=round(config.time_slice * 1e9),
        )
        self._opening: set[int] = set()
        self._upload = Upload(jobs.uploads)
        self._totals: dict[int, dict[str, int]] = {}
        self._lock = threading.Lock()
        self._serving = self._ended = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._leaving = False
        self._stalled_since: float | None = None

    def serve(self, sock: socket.socket, connection: int, welcome: Frame) -> None:
        """Goes on over this connection, in a thread of its own; the worker's loop calls it."""
        self._serving, self._leaving = True, False
        thread = threading.Thread(
            target=self._thread, args=(sock, connection, welcome), name=self.name[:8], daemon=True
        )
        thread.start()

    def post(self, action: Callable[[], None]) -> None:
        """Does this in the session's thread or, without one, here; the worker's loop calls it.

        A session that was ended meanwhile has no use for it.
        """
        with self._lock:
            if self._ended:
                return
            if self._serving:
                self._inbox.append(action)
                os.eventfd_write(self._wake, 1)
                return
        self._guarded(action)

    def leave(self, code: ErrorCode | None, message: str = "") -> None:
        """Ends the connection, if there is one, with an ERROR or without."""

        def leave() -> None:
            if code is not None:
                self._send(_error_frame(0, code, "connection", message))
            self._leaving = True

        self.post(leave)

    def drain(self) -> None:
        """The server is about to end: no stream is opened any more."""

        def drain() -> None:
            self.draining = True
            message = "the server ends when the shots in flight are done"
            self._send(_error_frame(0, ErrorCode.DRAINING, "connection", message))

        self.post(drain)

    def add(self, restored: RestoredStream) -> None:
        """Takes in a stream from its journal."""
        stream = restored.stream
        self._adopt(stream, restored.position)
        self._plane.keep(stream.number, b"".join(map(encode_frame, restored.kept)))
        if restored.conflict:
            self._plane.mark_conflict(stream.number)

    def end(self) -> None:
        """Takes out all streams, for good if the session is over; else their journals stay."""
        for stream in list(self.streams.values()):
            self._drop(stream, over=self.over)
        self._upload.drop()
        self._ended = True
        os.close(self._wake)

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight, and none is being opened."""
        return not self._opening and self._plane.at_rest

    # Answers to what the worker was asked for, by `post`.

    def opened(self, number: int, options: Open, decoder: ServedDecoder) -> None:
        """A stream's decoder is made."""
        self._opening.discard(number)
        config = self._jobs.config
        stream = ServerStream(number, options, decoder, config.window, round(config.gap_deadline * 1e9))
        try:
            life = Journal.next_life(config.folder, self.name, number)
            head = stream.head(Position(0, 0, 0))
            stream.journal = Journal(config.folder, life, head, keep=not config.prune)
        except OSError as failure:
            self._send(_error_frame(number, ErrorCode.JOURNAL_FAILED, "stream", str(failure)))
            return
        self._adopt(stream, Position(0, 0, 0))
        self._send(stream.opened(Position(0, 0, 0)))
        self._plane.announce(number)

    def not_opened(self, number: int, error: Exception) -> None:
        """No decoder can be made."""
        self._opening.discard(number)
        unknown = isinstance(error, UnknownModelError)
        code = ErrorCode.UNKNOWN_MODEL if unknown else ErrorCode.BAD_MODEL
        self._send(_error_frame(number, code, "stream", str(error)))

    def reloaded(self, stream: ServerStream, model: StreamModel) -> None:
        """The model of a RELOAD is made: it takes over at the next window boundary."""
        if self.streams.get(stream.number) is stream and stream.wanted is not None:
            stream.prepare(model)
            self._plane.swap(stream.number, stream.wanted.model, stream.wanted.kind)

    def not_reloaded(self, stream: ServerStream, error: Exception) -> None:
        """The model of a RELOAD makes no decoder; the old one goes on as if nothing had been asked."""
        if self.streams.get(stream.number) is not stream or stream.wanted is None:
            return
        message = f"model {stream.wanted.model[:16]}: {error}"
        stream.wanted = None
        self._jobs.event("reload rejected", stream=stream.number, reason=str(error))
        self._send(_error_frame(stream.number, ErrorCode.RELOAD_REJECTED, "frame", message))

    def stored(self, part: UploadPayload, error: Exception | None) -> None:
        """The answer to the last part of an UPLOAD."""
        if error is None:
            stored = UploadPayload(part.digest, part.total, part.total, b"")
            self._send(Frame(FrameType.UPLOAD, payload=encode_upload(stored)))
            return
        code = ErrorCode.INTERNAL
        if isinstance(error, PayloadError | ModelLimitError):
            code = ErrorCode.LIMIT if isinstance(error, ModelLimitError) else ErrorCode.BAD_FRAME
        self._send(_error_frame(0, code, "frame", str(error)))

    # The thread of a connection.

    def _thread(self, sock: socket.socket, connection: int, welcome: Frame) -> None:
        config = self._jobs.config
        with sock:
            self._guarded(lambda: schedule(config.cores, realtime=config.realtime))
            self._guarded(lambda: self._serve(sock, welcome))
            if self.failed:
                self._send(
                    _error_frame(0, ErrorCode.INTERNAL, "connection", "the session failed; connect again")
                )
            _say(sock, self._plane.take_output())
        self._upload.drop()
        self.detached_since = time.monotonic()
        while True:
            with self._lock:
                if not self._inbox:
                    self._serving = False
                    break
                action = self._inbox.popleft()
            self._guarded(action)
        self._jobs.left(self, connection)

    def _serve(self, sock: socket.socket, welcome: Frame) -> None:
        """Until the connection is over, from either side."""
        plane, config = self._plane, self._jobs.config
        plane.attach()
        self._stalled_since = None
        self._send(welcome)
        reported = time.monotonic()
        while not (self._leaving or self.over or (self.draining and self.at_rest)):
            timeout = 0.02 if self.draining else TICK
            why = plane.serve(sock.fileno(), wake_fd=self._wake, timeout=timeout, busy_poll=config.busy_poll)
            self._handle_events()
            while self._inbox:
                self._inbox.popleft()()
            now = time.monotonic()
            if now - reported >= TICK:
                reported = now
                self.publish()
            if why in ("closed", "finished") or self._reader_is_gone(now):
                break
        more = True
        while more:  # a resume must find done what was accepted, also behind a window that was built only now
            more = plane.work()
            more = self._handle_events() or more
        self.publish()

    def _reader_is_gone(self, now: float) -> bool:
        """Whether a full output buffer was left unread for too long."""
        if not self._plane.stalled:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        return self._stalled_since is not None and now - self._stalled_since > self._jobs.config.slow_reader

    def _guarded(self, action: Callable[[], None]) -> None:
        """A fault costs this session, whose journals stay, and no other one."""
        try:
            action()
        except Exception:  # noqa: BLE001 - whatever it is: other sessions are served by this process
            self.failed = True
            self._jobs.event("session failed", session=self.name[:8], reason=traceback.format_exc()[-4000:])

    def _handle_events(self) -> bool:
        """Whether there were any. Of a stream that a CLOSE before them took out, there is nothing to do."""
        events = self._plane.take_events()
        for event in events:
            if isinstance(event, ControlFrame):
                frame = Frame(
                    FrameType(event.type),
                    event.stream,
                    event.epoch,
                    event.sequence,
                    event.payload,
                    event.flags,
                )
                self._control(frame)
            elif isinstance(event, Damaged):
                self._jobs.metrics.fault(event.kind)
            elif event.stream not in self.streams:
                continue
            elif isinstance(event, JournalFailed):
                self._journal_failed(self.streams[event.stream], event.reason)
            elif isinstance(event, JournalDue):
                self._rotate(self.streams[event.stream])
            elif isinstance(event, Swapped):
                self.streams[event.stream].swapped()
            elif isinstance(event, Blocked):
                self.streams[event.stream].build_missing()
                self._plane.unblock(event.stream)
        return bool(events)

    def _control(self, frame: Frame) -> None:
        try:
            _CONTROL[frame.type](self, frame)
        except PayloadError as error:
            self._send(_error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", str(error)))
        except ModelLimitError as error:
            self._send(_error_frame(frame.stream, ErrorCode.LIMIT, "frame", str(error)))

    def _open(self, frame: Frame) -> None:
        options = decode_message(frame.payload, Open)
        number = frame.stream
        stream = self.streams.get(number)
        refusal = self._refusal(number, options, stream)
        if refusal is not None:
            self._send(_error_frame(number, refusal[0], "stream", refusal[1]))
        elif stream is not None and options.resume_after is not None:
            self._resume(stream, options.resume_after)
        elif number not in self._opening:  # else OPENED comes when it is built
            self._opening.add(number)
            self._jobs.open(self, number, options)

    def _resume(self, stream: ServerStream, after: int) -> None:
        number = stream.number
        position = self._position(number)
        resent = self._plane.resend(number, after)
        if resent is None:
            message = f"outputs after {after} of {position.outputs} are not kept"
            self._send(_error_frame(number, ErrorCode.RESUME_LOST, "stream", message))
            return
        self._send(stream.opened(position))
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
        if stream is None and not opening and len(self.streams) + len(self._opening) >= limit:
            return ErrorCode.LIMIT, f"{limit} streams are open, which is the limit"
        return None

    def _reload(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        if stream is None:
            message = f"RELOAD for stream {frame.stream}, which is not open"
            self._send(_error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message))
            return
        reload = decode_message(frame.payload, Reload)
        if stream.wanted is not None:
            message = f"the reload of {stream.wanted.model[:16]} is not finished"
            self._send(_error_frame(frame.stream, ErrorCode.RELOAD_BUSY, "frame", message))
            return
        stream.wanted = reload
        self._jobs.reload(self, stream, reload)

    def _close(self, frame: Frame) -> None:
        """Everything before it is decoded."""
        if frame.stream == WHOLE_SESSION:
            self.over = True
            self._send(Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close())))
            return
        stream = self.streams.get(frame.stream)
        if stream is None:
            message = f"CLOSE of stream {frame.stream}, which is not open"
            self._send(_error_frame(frame.stream, ErrorCode.UNKNOWN_STREAM, "frame", message))
            return
        closed = Close(outputs=self._plane.outputs(frame.stream))
        self._drop(stream, over=True)
        self._send(Frame(FrameType.CLOSE, frame.stream, payload=encode_message(closed)))

    def _uploaded(self, frame: Frame) -> None:
        part = decode_upload(frame.payload)
        text = self._upload.add(part)
        if text is not None:
            self._jobs.store(self, part, text)

    def _hello(self, frame: Frame) -> None:
        self._send(_error_frame(frame.stream, ErrorCode.BAD_FRAME, "frame", "HELLO was said already"))

    def _adopt(self, stream: ServerStream, position: Position) -> None:
        shape, journal = stream.decoder.shape, stream.journal
        assert journal is not None
        self._plane.open(
            stream.number,
            stream.native,
            layers=list(shape.layers),
            final_bits=shape.final_bits,
            num_observables=shape.num_observables,
            commit=shape.commit,
            window=stream.window,
            gap_deadline_ns=stream.gap_deadline,
            erase=stream.options.on_gap == "erase",
            segment_bytes=self._jobs.config.segment_bytes,
            journal_fd=journal.fd,
            journal_size=journal.size,
            place=(position.epoch, position.sequence),
            outputs=position.outputs,
        )
        self.streams[stream.number] = stream
        self._jobs.event(
            "stream opened",
            session=self.name[:8],
            stream=stream.number,
            model=stream.decoder.model_id.hex(),
            rounds=shape.rounds,
            decoder=stream.options.decoder,
        )

    def _drop(self, stream: ServerStream, *, over: bool) -> None:
        """Takes a stream out: for good, or so that it can be restored."""
        totals = self._count(stream)
        del self.streams[stream.number], self._totals[stream.number]
        self._plane.close(stream.number)
        journal = stream.journal
        assert journal is not None
        try:
            if over:
                journal.add(Frame(FrameType.CLOSE, stream.number))
                journal.flush()
        except JournalError as error:  # it is put away all the same
            self._jobs.event("journal not closed", stream=stream.number, reason=str(error))
        with contextlib.suppress(FileNotFoundError):
            journal.end() if over else journal.close()
        shown = {name: totals[name] for name in ("shots", "commits", "erased", "failed")}
        self._jobs.event("stream closed", session=self.name[:8], stream=stream.number, **shown)

    def _rotate(self, stream: ServerStream) -> None:
        position, journal = self._position(stream.number), stream.journal
        assert journal is not None
        try:
            journal.rotate(position.outputs, stream.head(position))
        except JournalError as error:
            self._plane.close(stream.number)
            self._journal_failed(stream, str(error))
        else:
            self._plane.continue_journal(stream.number, journal.fd, journal.size)

    def _journal_failed(self, stream: ServerStream, reason: str) -> None:
        """The data plane has it no more; what it did not write it did not send either."""
        del self.streams[stream.number]
        self._totals.pop(stream.number, None)
        assert stream.journal is not None
        stream.journal.close()
        self._jobs.event("journal failed", session=self.name[:8], stream=stream.number, reason=reason)
        self._send(_error_frame(stream.number, ErrorCode.JOURNAL_FAILED, "stream", reason))

    def _position(self, number: int) -> Position:
        return Position(*self._plane.place(number), self._plane.outputs(number))

    def _send(self, frame: Frame) -> None:
        self._plane.send(encode_frame(frame))

    def publish(self) -> None:
        """Adds to the metrics what happened since the last call, and renews `report`."""
        report: list[StreamStatus] = []
        for stream in self.streams.values():
            totals = self._count(stream)
            if stream.sampled and totals["rounds"] > stream.sampled_until:
                new = totals["rounds"] - stream.sampled_until
                stream.sampled_until = totals["rounds"]
                rows = self._plane.recent_rows(stream.number, min(new, SAMPLED_ROWS))
                stream.decoder.density.sample([(at, bits, erased) for _, at, bits, erased in rows])
            density = stream.decoder.density.take()
            report.append(
                StreamStatus(
                    session=self.name,
                    stream=stream.number,
                    model_id=stream.decoder.model_id.hex(),
                    model_age=time.monotonic() - stream.model_since,
                    in_flight=totals["in_flight"],
                    window=stream.window,
                    connected=self._serving,
                    density=[share / 65535 for share in memoryview(density.each).cast("H")],
                    mean=density.mean,
                    baseline=density.baseline,
                    drift=density.drift,
                )
            )
        self.report = report

    def _count(self, stream: ServerStream) -> dict[str, int]:
        totals = self._plane.stats(stream.number)
        self._jobs.metrics.count(totals, self._totals.get(stream.number, {}))
        self._totals[stream.number] = totals
        rows, waited, decoding, waited_log2, decoding_log2 = self._plane.take_latencies(stream.number)
        if rows:
            self._jobs.metrics.observe("queue", waited, waited_log2)
            self._jobs.metrics.observe("decode", decoding, decoding_log2)
        return totals


_CONTROL: dict[FrameType, Callable[[ClientSession, Frame], None]] = {
    FrameType.OPEN: ClientSession._open,
    FrameType.RELOAD: ClientSession._reload,
    FrameType.CLOSE: ClientSession._close,
    FrameType.UPLOAD: ClientSession._uploaded,
    FrameType.HELLO: ClientSession._hello,
}


def _error_frame(stream: int, code: ErrorCode, scope: Scope, message: str) -> Frame:
    """An ERROR about a stream, or, with stream 0 and scope connection, about all."""
    return Frame(FrameType.ERROR, stream, payload=encode_message(Error(code, scope, message[:1000])))


def _say(sock: socket.socket, data: bytes) -> None:
    """Sends what is left, and reads what came meanwhile: unread it would throw away what was sent."""
    with contextlib.suppress(OSError):
        sock.settimeout(LAST_WORDS)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        for _ in range(8):
            sock.recv(RECEIVE_BYTES)
