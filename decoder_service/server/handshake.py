"""The way of a connection to its HELLO and a worker: who may come in, and what the others are told.

After its HELLO a connection belongs to a worker; no data frame passes through this process, except those
of TLS connections, which it decrypts and relays.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hmac
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from decoder_service.protocol import (
    HEADER_BYTES,
    ErrorCode,
    FrameParser,
    FrameType,
    Hello,
    PayloadError,
    WireFault,
    decode_message,
    encode_frame,
    error_frame,
)
from decoder_service.protocol.frame import HEADER
from decoder_service.server.config import ServerConfig
from decoder_service.server.supervisor import Supervisor

log = logging.getLogger("decoder_service")
RELAY_BYTES = 1 << 16
LAST_WORDS = 0.5
"""Seconds in which a peer that was turned away can read why."""


class HandshakeError(Exception):
    """The peer did not say HELLO as it must."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class _HalfOpen:
    """A connection whose HELLO is not accepted yet."""

    def __init__(self, peer: str, task: asyncio.Task[Any]) -> None:
        self.peer = peer
        self.task = task
        self.crowded_out = False
        """It had to make room for another one."""


class Handshakes:
    """Connections whose HELLO is not accepted yet. Their time is bounded, and so is their number.

    Args:
        config: of the server.
        supervisor: takes the connections.
    """

    def __init__(self, config: ServerConfig, supervisor: Supervisor) -> None:
        self.refused = 0
        """Connections without a good HELLO."""
        self._config = config
        self._supervisor = supervisor
        self._half_open: list[_HalfOpen] = []
        """Oldest first."""
        self._waiting: collections.Counter[str] = collections.Counter()
        """Connections that wait for a worker, by session."""
        self._turned_away = 0
        """Connections that are turned away now."""
        self._numbers = iter(range(1, 1 << 62))

    def __len__(self) -> int:
        return len(self._half_open) + self._waiting.total()

    async def greet(self, sock: socket.socket) -> None:
        """Hands an accepted connection over once it has said HELLO, or turns it away."""
        loop = asyncio.get_running_loop()
        with sock:
            try:
                async with self._shaking_hands(sock):
                    hello = await self._hello(lambda size: _exactly(loop, sock, size))
                await self._hand_over(hello, sock)
            except HandshakeError as error:
                self.refused += 1
                await self._turn_away(sock, error)
            except (OSError, EOFError) as error:
                self.refused += 1
                log.info("handshake failed", extra={"error": repr(error)})

    async def greet_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """The same over TLS: its bytes go to a worker, and back, through a socket pair."""
        ours, theirs = socket.socketpair()
        writer = None
        try:
            with theirs:
                async with self._shaking_hands(sock):
                    reader, writer = await _secure(sock, context, self._config.handshake)
                    hello = await self._hello(reader.readexactly)
                await self._hand_over(hello, theirs)
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=ours)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        except HandshakeError as error:
            self.refused += 1
            if writer is not None:
                writer.write(_refusal(error))
        except (OSError, EOFError) as error:
            log.info("TLS connection ended", extra={"error": repr(error)})
        finally:
            ours.close()
            sock.close() if writer is None else writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if writer is not None:
                    await writer.wait_closed()

    async def _turn_away(self, sock: socket.socket, error: HandshakeError) -> None:
        """Says why, and reads on for a moment: closing with unread input would throw the answer away.

        Where many are turned away at once, the others have no such moment.
        """
        with contextlib.suppress(OSError, TimeoutError):
            sock.send(_refusal(error))
            sock.shutdown(socket.SHUT_WR)
            if self._turned_away >= self._config.half_open:
                return
            self._turned_away += 1
            try:
                async with asyncio.timeout(LAST_WORDS):
                    while await asyncio.get_running_loop().sock_recv(sock, RELAY_BYTES):
                        pass
            finally:
                self._turned_away -= 1

    @contextlib.asynccontextmanager
    async def _shaking_hands(self, sock: socket.socket) -> AsyncIterator[None]:
        """The time to a HELLO. It is bounded, as is the number of connections in it.

        Where there are too many, the peer with the most loses its oldest: whoever says HELLO at once gets in.
        """
        task = asyncio.current_task()
        assert task is not None
        half_open = _HalfOpen(_peer(sock), task)
        self._half_open.append(half_open)
        if len(self._half_open) > self._config.half_open:
            peers = collections.Counter(other.peer for other in self._half_open)
            greedy = peers.most_common(1)[0][0]
            oldest = next(other for other in self._half_open if other.peer == greedy)
            oldest.crowded_out = True
            oldest.task.cancel()
            self._half_open.remove(oldest)
        try:
            async with asyncio.timeout(self._config.handshake):
                yield
        except TimeoutError as error:
            message = f"no HELLO came within {self._config.handshake:g} s"
            raise HandshakeError(ErrorCode.HANDSHAKE, message) from error
        except asyncio.CancelledError as error:
            if not half_open.crowded_out:
                raise
            task.uncancel()
            message = f"{self._config.half_open} connections have not said HELLO, which is the limit"
            raise HandshakeError(ErrorCode.LIMIT, message) from error
        finally:
            if half_open in self._half_open:
                self._half_open.remove(half_open)

    def _check_room(self, session: str) -> None:
        """Raises HandshakeError where there is none; who comes back takes the place of the last one."""
        config, supervisor = self._config, self._supervisor
        count = supervisor.connections + self._waiting.total()
        own = supervisor.connections_of(session) + self._waiting[session]
        if count >= config.connections and own != 1:
            message = f"{config.connections} connections are open, which is the limit"
            raise HandshakeError(ErrorCode.LIMIT, message)
        known = {*supervisor.sessions, *self._waiting}
        if session not in known and len(known) >= config.sessions:
            raise HandshakeError(ErrorCode.LIMIT, f"{len(known)} sessions are open, which is the limit")

    async def _hello(self, read: Callable[[int], Awaitable[bytes]]) -> Hello:
        parser = FrameParser(limits=self._config.worker.limits)
        header = await read(HEADER_BYTES)
        length = HEADER.unpack(header)[5]
        items = parser.feed(header)
        if not items and length and parser.buffered == HEADER_BYTES:
            items = parser.feed(await read(length))
        if not items or isinstance(items[0], WireFault) or items[0].type != FrameType.HELLO:
            raise HandshakeError(ErrorCode.HANDSHAKE, "a connection begins with HELLO")
        try:
            hello = decode_message(items[0].payload, Hello)
        except PayloadError as error:
            raise HandshakeError(ErrorCode.HANDSHAKE, str(error)) from error
        if self._config.token and not hmac.compare_digest(hello.token.encode(), self._config.token.encode()):
            raise HandshakeError(ErrorCode.UNAUTHORIZED, "HELLO has another token than the server")
        return hello

    async def _hand_over(self, hello: Hello, sock: socket.socket) -> None:
        self._check_room(hello.session)
        self._waiting[hello.session] += 1
        try:
            worker = await self._supervisor.assign(next(self._numbers), hello.session, sock)
        except OSError as error:
            message = f"the worker of this session just ended, connect again ({error})"
            raise HandshakeError(ErrorCode.INTERNAL, message) from error
        finally:
            self._waiting[hello.session] -= 1
            self._waiting += collections.Counter()  # drops zeros
        log.info("connected", extra={"client": hello.client, "pid": worker.process.pid})


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For TLS 1.3 and later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


def _peer(sock: socket.socket) -> str:
    """Who connects, as far as that is known: an address, or a user of this machine."""
    if sock.family == socket.AF_UNIX:
        _, user, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"user {user}"
    return str(sock.getpeername()[0])


def _refusal(error: HandshakeError) -> bytes:
    return encode_frame(error_frame(0, error.code, "connection", str(error)))


async def _exactly(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise EOFError(f"the peer left after {len(data)} of {size} bytes")
        data += part
    return data


async def _secure(
    sock: socket.socket, context: ssl.SSLContext, timeout: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The streams of an accepted connection, once TLS is agreed on."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, sock, ssl=context, ssl_handshake_timeout=timeout
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what arrives, until it ends."""
    try:
        while data := await reader.read(RELAY_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
