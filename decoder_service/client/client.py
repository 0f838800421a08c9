"""A blocking client: one thread, one connection, any number of streams."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import select
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from decoder_service.client.stream import ClientStream, ServiceError, StreamOutput
from decoder_service.wire import (
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

RECEIVE_BYTES = 1 << 16
CHUNK = 1 << 17
"""Bytes of a model in one UPLOAD."""
WHOLE_SESSION = 0xFFFFFFFF
Address = str | Path | tuple[str, int]


class DisconnectedError(ConnectionError):
    """The connection is lost; `DecoderClient.reconnect` takes the session up again."""


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
    ) -> None:
        self.address = address
        self.session = session or secrets.token_hex(16)
        self.timeout = timeout
        self.resend_after = resend_after
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
            ServiceError: the server does not know the streams any more.
        """
        self.sock.close()
        self._connect()
        for stream in self.streams.values():
            options = Open(**{name: getattr(stream.options, name) for name in Open.__struct_fields__})
            options.resume_after = stream.received
            before = stream.opened
            self.send(Frame(FrameType.OPEN, stream.number, payload=encode_message(options)))
            self._until(lambda stream=stream, before=before: stream.opened is not before, stream)

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
        except ServiceError:
            del self.streams[number]
            raise
        return stream

    def push(self, stream: ClientStream, bits: bytes, erased: bytes | None = None) -> None:
        """Sends a round, packed LSB-first; waits for credit if there is none."""
        self._wait_for_credit(stream)
        self.send(stream.data(bits, erased))

    def finish(self, stream: ClientStream, bits: bytes) -> StreamOutput:
        """Sends the last row of the shot and waits for its RESULT; the COMMITs stay in `outputs`."""
        self._wait_for_credit(stream)
        epoch = stream.epoch
        self.send(stream.data(bits))
        self._until(lambda: any(out.final and out.epoch == epoch for out in stream.outputs), None)
        return next(out for out in stream.outputs if out.final and out.epoch == epoch)

    def reset(self, stream: ClientStream) -> None:
        """Gives up the shot that was begun."""
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
        ping = self._pings
        self.send(Frame(FrameType.PING, stream.number, sequence=ping))
        self._until(lambda: self._echoed >= ping, None)
        self.poll(0)
        if stream.in_flight:
            self.send(*stream.unacknowledged())

    def poll(self, timeout: float = 0.0) -> bool:
        """Takes what has arrived, waiting up to `timeout` seconds for the first; False if nothing did.

        Raises:
            DisconnectedError: the connection is lost.
        """
        # A socket's own timeout is rounded up to milliseconds; that of select is not.
        buffered = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
        if not buffered and not select.select([self.sock], [], [], timeout)[0]:
            return False
        self.sock.settimeout(0)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise DisconnectedError(f"connection to {self.address} lost: {error}") from error
        if not data:
            raise DisconnectedError(
                f"the server closed the connection: {self.errors[-1:] or 'no reason given'}"
            )
        again: list[Frame] = []
        for item in self._parser.feed(data):
            if not isinstance(item, WireFault):
                again += self._handle(item)
            elif item.fatal:
                raise DisconnectedError(f"the server does not speak this protocol: {item.detail}")
        self.send(*again)
        return True

    def send(self, *frames: Frame) -> None:
        """Sends frames as they are. Raises DisconnectedError if the connection is lost."""
        if not frames:
            return
        self.sock.settimeout(self.timeout)
        try:
            self.sock.sendall(b"".join(map(encode_frame, frames)))
        except OSError as error:
            raise DisconnectedError(f"connection to {self.address} lost: {error}") from error

    def _connect(self) -> None:
        self.sock = self._socket()
        self._parser = FrameParser()
        self._welcomed = False
        hello = Hello(session=self.session, client="qecpipe", token=self._token)
        try:
            self.send(Frame(FrameType.HELLO, payload=encode_message(hello)))
            self._until(lambda: self._welcomed, None)
        except (OSError, ServiceError):
            self.sock.close()
            raise

    def _socket(self) -> socket.socket:
        try:
            return self._connected()
        except OSError as error:
            message = f"no service at {self.address}: {error.strerror or error}; start one: qecpipe serve"
            raise DisconnectedError(message) from error

    def _connected(self) -> socket.socket:
        if isinstance(self.address, tuple):
            sock = socket.create_connection(self.address, timeout=self.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self.address[0])
            return sock
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(self.timeout)
        try:
            sock.connect(str(self.address))
        except OSError:
            sock.close()
            raise
        return sock

    def _handle(self, frame: Frame) -> list[Frame]:
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
            self.errors.append(ServiceError(error.code, error.message))
        elif frame.stream in self.streams:
            return self.streams[frame.stream].handle(frame)
        elif frame.type == FrameType.ERROR:
            error = decode_message(frame.payload, Error)
            self.errors.append(ServiceError(error.code, error.message))
        return []

    def _wait_for_credit(self, stream: ClientStream) -> None:
        if stream.credit <= 0 and not self.poll(0):
            self._until(lambda: stream.credit > 0, None)

    def _until(self, done: Callable[[], bool], stream: ClientStream | None) -> None:
        """Polls until `done`; an ERROR about `stream`, if one is given, or a silent server, ends it."""
        deadline = time.monotonic() + self.timeout
        while not done():
            if stream is not None and stream.errors:
                raise stream.errors.pop()
            if self.errors and self.errors[-1].code is not ErrorCode.DRAINING:
                raise self.errors.pop()
            left = deadline - time.monotonic()
            if left <= 0:
                raise DisconnectedError(f"no answer from {self.address} in {self.timeout} s")
            if not self.poll(min(left, self.resend_after)):
                for waiting in self.streams.values():
                    self.send(*waiting.unacknowledged())
