"""A blocking client: one thread, one connection, any number of streams."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from decoder_service.client import link
from decoder_service.client.errors import DisconnectedError, ServiceError
from decoder_service.client.link import Address
from decoder_service.client.stream import ClientStream, StreamOutput
from decoder_service.protocol import (
    Close,
    Error,
    ErrorCode,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    Open,
    Reload,
    Stats,
    UploadPayload,
    Welcome,
    WireFault,
    decode_message,
    decode_upload,
    encode_frame,
    encode_message,
    encode_upload,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK = 1 << 17
"""Bytes of a model in one UPLOAD."""
WHOLE_SESSION = 0xFFFFFFFF
OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


class DecoderClient:
    """A session with a decoder service.

        with DecoderClient("/run/qecpipe.sock") as client:
            stream = client.open(circuit_text, commit=5, buffer=5)
            for row in rounds:                       # packed bits, LSB first
                client.push(stream, row)
            result = client.finish(stream, final_row)

    Args:
        address: path of a Unix socket, or (host, port).
        token: of the server, if it has one.
        tls: context of a TLS connection; None for a plain one.
        session: name of a session to take up; by default a new random one.
        timeout: seconds to wait for any answer.
        resend_after: seconds of silence after which what is not acknowledged is sent again.
        busy_poll: seconds to ask for an answer again and again before sleeping; by default about as
            long as it takes to be woken.
    """

    def __init__(
        self,
        address: Address,
        *,
        token: str = "",
        tls: ssl.SSLContext | None = None,
        session: str | None = None,
        timeout: float = 30.0,
        resend_after: float = 0.25,
        busy_poll: float | None = None,
    ) -> None:
        self.address = address
        self.session = session or secrets.token_hex(16)
        self.timeout = timeout
        self.resend_after = resend_after
        self.busy_poll = link.usual_busy_poll() if busy_poll is None else busy_poll
        self.streams: dict[int, ClientStream] = {}
        self.errors: list[ServiceError] = []
        """ERRORs about the connection as a whole."""
        self.welcome: Welcome
        self._token = token
        self._tls = tls
        self._stored: set[str] = set()
        self._pings = 0
        self._echoed = 0
        self._stats: Stats | None = None
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; the server forgets its streams."""
        with contextlib.suppress(ConnectionError):
            self.send(Frame(FrameType.CLOSE, WHOLE_SESSION, payload=encode_message(Close())))
        self.sock.close()

    def reconnect(self) -> None:
        """A new connection for the same session: streams go on where the server had got to.

        Raises:
            OSError: nobody listens.
            ServiceError: streams are lost, and in `streams` no more; all the others go on.
        """
        self.sock.close()
        self._connect()
        lost: dict[int, ServiceError] = {}
        for stream in list(self.streams.values()):
            options = msgspec.structs.replace(stream.options, resume_after=stream.received)
            before = stream.opened
            self.send(Frame(FrameType.OPEN, stream.number, payload=encode_message(options)))
            try:
                self._until(lambda stream=stream, before=before: stream.opened is not before, stream)
            except ServiceError as error:
                if error.scope != "stream":
                    raise
                lost[stream.number] = error
                del self.streams[stream.number]
        if lost:
            error = next(iter(lost.values()))
            numbers = ", ".join(map(str, lost))
            raise ServiceError(error.code, f"lost: stream {numbers} ({error})", scope="stream") from error

    def upload(self, text: str) -> str:
        """Stores a circuit or DEM on the server, unless it was already; its digest, in hex."""
        data = text.encode()
        digest = hashlib.sha256(data)
        name = digest.hexdigest()
        for offset in range(0, max(1, len(data)), CHUNK):
            part = UploadPayload(digest.digest(), len(data), offset, data[offset : offset + CHUNK])
            self.send(Frame(FrameType.UPLOAD, payload=encode_upload(part)))
        self._until(lambda: name in self._stored, None)
        return name

    def open(self, model: str, *, number: int | None = None, **options: Any) -> ClientStream:
        """Opens a stream and waits until it is warm.

        Args:
            model: text of a Stim circuit, or with kind='dem' of a detector error model.
            number: of the stream; by default the first one that is free.
            options: the other fields of `wire.Open`.
        """
        if number is None:
            number = next(free for free in range(len(self.streams) + 1) if free not in self.streams)
        stream = ClientStream(number, Open(model=self.upload(model), **options))
        self.streams[number] = stream
        self.send(Frame(FrameType.OPEN, number, payload=encode_message(stream.options)))
        try:
            self._until(lambda: stream.opened is not None, stream)
        except (ServiceError, DisconnectedError):
            del self.streams[number]  # if it exists at the server all the same, its number is taken there
            raise
        return stream

    def push(self, stream: ClientStream, bits: bytes, erased: bool = False) -> None:
        """Sends a round, packed LSB-first; waits for credit if there is none."""
        if stream.credit <= 0:
            self._wait_for_credit(stream)
        self.send(stream.data(bits, erased))

    def push_rounds(self, stream: ClientStream, rows: Buffer, erased: Sequence[bool] | None = None) -> None:
        """Sends any number of rounds in as few frames as credit, limits and shots allow.

        Args:
            rows: packed LSB-first, each in whole bytes, one after the other; with the final row of a
                shot among them, which the first round of the next may follow.
            erased: of each row, whether it carries no information.

        Raises:
            ValueError: the bytes are not those of a number of rows; whole rows before the end were sent.
        """
        data = memoryview(rows).cast("B")
        at = sent = 0
        while at < len(data):
            if stream.credit <= 0:
                self._wait_for_credit(stream)
            count, size = stream.fitting(len(data) - at, limit=self.welcome.round_bytes)
            flags = None if erased is None else erased[sent : sent + count]
            self.send(stream.block(data[at : at + size], count, flags))
            at, sent = at + size, sent + count

    def finish(self, stream: ClientStream, bits: bytes) -> StreamOutput:
        """Sends the last row of the shot and waits for its RESULT; the COMMITs stay in `outputs`."""
        self._wait_for_credit(stream)
        epoch = stream.epoch
        self.send(stream.data(bits))
        while True:
            for output in reversed(stream.outputs):
                if output.final and output.epoch == epoch:
                    return output
            before = stream.received
            self._until(lambda before=before: stream.received > before, stream, fatal=True)

    def reset(self, stream: ClientStream) -> None:
        """Abandons the shot that was begun."""
        self.send(stream.reset())

    def reload(self, stream: ClientStream, model: str, *, kind: str = "dem", wait: bool = True) -> None:
        """Decodes with another model from the next window boundary on.

        With `wait`, returns once it has taken over, which needs a boundary: at rest between two shots,
        or rounds pushed in the meantime. Raises ServiceError (RELOAD_REJECTED) if it is refused.
        """
        reload = Reload(self.upload(model), "circuit" if kind == "circuit" else "dem")
        before = stream.reloaded
        self.send(Frame(FrameType.RELOAD, stream.number, payload=encode_message(reload)))
        if wait:
            self._until(lambda: stream.reloaded > before, stream)

    def stats(self, stream: ClientStream) -> Stats:
        """The server's counters of a stream."""
        self._stats = None
        self.send(Frame(FrameType.STATS, stream.number))
        self._until(lambda: self._stats is not None, None)
        assert self._stats is not None
        return self._stats

    def close_stream(self, stream: ClientStream) -> None:
        """Ends a stream."""
        self.send(Frame(FrameType.CLOSE, stream.number, payload=encode_message(Close())))
        self._until(lambda: stream.closed, stream)
        del self.streams[stream.number]

    def sync(self, stream: ClientStream) -> None:
        """Waits until the server has dealt with everything sent so far, and sends again what it lacks."""
        self._pings += 1
        ping = Frame(FrameType.PING, stream.number, sequence=self._pings)
        self.send(ping)
        self._until(lambda: self._echoed >= ping.sequence, stream, fatal=True, again=ping)
        self.poll(0)
        if stream.in_flight:
            self.send(*stream.unacknowledged())

    def poll(self, timeout: float = 0.0) -> bool:
        """Takes what has arrived, waiting up to `timeout` seconds for the first; False if nothing did.

        Raises:
            DisconnectedError: the connection is lost.
        """
        try:
            data = link.receive(self.sock, timeout=timeout, busy_poll=self.busy_poll)
        except OSError as error:
            raise DisconnectedError(f"connection to {self.address} lost: {error}") from error
        if data is None:
            return False
        if not data:
            raise DisconnectedError(
                f"the server closed the connection: {self.errors[-1:] or 'no reason given'}"
            )
        again: list[Frame] = []
        streams = self.streams
        for item in self._parser.feed(data):
            if isinstance(item, WireFault):
                if item.fatal:
                    raise DisconnectedError(f"the server does not speak this protocol: {item.detail}")
            elif item.type in OUTPUTS and (stream := streams.get(item.stream)) is not None:
                stream.take_output(item)
            else:
                again += self.handle(item)
        if again:
            self.send(*again)
        return True

    def send(self, *frames: Frame) -> None:
        """Sends frames as they are. Raises DisconnectedError if the connection is lost."""
        if not frames:
            return
        data = encode_frame(frames[0]) if len(frames) == 1 else b"".join(map(encode_frame, frames))
        try:
            link.send_all(self.sock, data, timeout=self.timeout)
        except OSError as error:
            raise DisconnectedError(f"connection to {self.address} lost: {error}") from error

    def _connect(self) -> None:
        self.sock = link.connect(self.address, tls=self._tls, timeout=self.timeout)
        self._parser = FrameParser()
        self._welcomed = False
        hello = Hello(session=self.session, client="qecpipe", token=self._token)
        try:
            self.send(Frame(FrameType.HELLO, payload=encode_message(hello)))
            self._until(lambda: self._welcomed, None)
        except (OSError, ServiceError):
            self.sock.close()
            raise

    def handle(self, frame: Frame) -> list[Frame]:
        """Takes a frame from the server that is no output; returns what must be sent again."""
        if frame.type == FrameType.HELLO:
            self.welcome = decode_message(frame.payload, Welcome)
            self._welcomed = True
        elif frame.type == FrameType.UPLOAD:
            self._stored.add(decode_upload(frame.payload).digest.hex())
        elif frame.type == FrameType.PING:
            self._echoed = max(self._echoed, frame.sequence)
        elif frame.type == FrameType.STATS:
            self._stats = decode_message(frame.payload, Stats)
        elif frame.type == FrameType.ERROR and decode_message(frame.payload, Error).scope == "connection":
            error = decode_message(frame.payload, Error)
            self.errors.append(ServiceError(error.code, error.message, scope=error.scope))
        elif frame.stream in self.streams:
            return self.streams[frame.stream].handle(frame)
        elif frame.type == FrameType.ERROR:
            error = decode_message(frame.payload, Error)
            self.errors.append(ServiceError(error.code, error.message, scope=error.scope))
        return []

    def _wait_for_credit(self, stream: ClientStream) -> None:
        if stream.credit <= 0 and not self.poll(0):
            self._until(lambda: stream.credit > 0, stream, fatal=True)

    def _until(
        self,
        done: Callable[[], bool],
        stream: ClientStream | None,
        *,
        fatal: bool = False,
        again: Frame | None = None,
    ) -> None:
        """Polls until `done`; an ERROR about `stream`, if one is given, or a silent server, ends it.

        With `fatal`, only an ERROR that ends the stream does: the others cost a frame or a shot. After a
        silence, what is not acknowledged is sent again, and `again`, whose loss no NACK would tell.
        """
        deadline = time.monotonic() + self.timeout
        while not done():
            for error in stream.errors if stream is not None else ():
                if not fatal or error.scope == "stream":
                    stream.errors.remove(error)  # pyright: ignore[reportOptionalMemberAccess]
                    raise error
            if self.errors and self.errors[-1].code is not ErrorCode.DRAINING:
                raise self.errors.pop()
            left = deadline - time.monotonic()
            if left <= 0:
                raise DisconnectedError(f"no answer from {self.address} in {self.timeout} s")
            if not self.poll(min(left, self.resend_after)):
                for waiting in self.streams.values():
                    self.send(*waiting.unacknowledged())
                if again is not None:
                    self.send(again)
