"""The front end: listens, checks who is there, and hands connections to workers.

After its HELLO a connection belongs to a worker; no data frame passes through this process, except those
of TLS connections, which it decrypts and relays.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hmac
import logging
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from decoder_service.protocol import (
    HEADER_BYTES,
    Error,
    ErrorCode,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    PayloadError,
    WireFault,
    decode_message,
    encode_frame,
    encode_message,
)
from decoder_service.protocol.frame import HEADER
from decoder_service.server.builds import Builds
from decoder_service.server.config import ServerConfig
from decoder_service.server.listening import RELAY_BYTES, UnixSocket, pump, secure, tls_context
from decoder_service.server.processes import Processes
from decoder_service.server.state import Retention
from decoder_service.server.supervisor import Supervisor

log = logging.getLogger("decoder_service")
LAST_WORDS = 0.5
"""Seconds in which a peer that was turned away can read why."""
DRAIN_GRACE = 2.0
"""Seconds beyond the workers' own drain time before they are killed."""


Greet = Callable[[socket.socket], Coroutine[None, None, None]]
"""What is done with an accepted connection."""


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


class ServerFrontEnd:
    """A running server: `async with ServerFrontEnd(config) as front_end: ...`."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.refused = 0
        self.tcp_port: int | None = None
        """The port in use, once listening."""
        self.http_port: int | None = None
        self.supervisor: Supervisor
        self._processes: Processes
        self._builds: Builds
        self._unix: UnixSocket | None = None
        self._lock = -1
        """Holds the state folder."""
        self._servers: list[asyncio.Server] = []
        self._listeners: list[tuple[socket.socket, asyncio.Task[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._half_open: list[_HalfOpen] = []
        """Oldest first."""
        self._numbers = iter(range(1, 1 << 62))

    async def __aenter__(self) -> ServerFrontEnd:
        config = self.config
        self._lock = await asyncio.to_thread(config.worker.folder.lock)
        self._processes = Processes(config.worker.folder.run)
        self._builds = Builds(
            self._processes, state=config.worker.state, limits=config.build, at_once=config.builds
        )
        self.supervisor = Supervisor(
            config.worker, self._processes, self._builds, workers=config.workers, deadline=config.deadline
        )
        try:
            self._processes.open(self._lock)
            await self.supervisor.start()
            await self._listen()
            self._keep(self._retain())
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening, lets the shots in flight end, and ends the workers."""
        if self._unix is not None:
            self._unix.remove()  # first: as soon as nobody listens, the path may be a successor's
        for listener, accepting in self._listeners:
            accepting.cancel()  # first: a closed descriptor's number may be another socket's next
            await asyncio.wait([accepting])
            listener.close()
        for server in self._servers:
            server.close()
        await self.supervisor.drain(self.config.worker.drain + DRAIN_GRACE)
        self._builds.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._processes.close()
        os.close(self._lock)

    @property
    def pids(self) -> list[int]:
        """Of the workers."""
        return [worker.process.pid for worker in self.supervisor.workers if worker.ready]

    @property
    def run_folder(self) -> Path:
        """Where workers write their counters and status."""
        return self.config.worker.folder.run

    @property
    def restarts(self) -> int:
        """Workers that were replaced."""
        return self.supervisor.restarts

    @property
    def restart_delay(self) -> float:
        """Seconds that the last one's place was left empty on purpose."""
        return self.supervisor.restart_delay

    @property
    def building(self) -> int:
        """Models that are being built or wait for it."""
        return len(self._builds)

    @property
    def connections(self) -> int:
        """Open now, those in their handshake included."""
        return len(self._half_open) + self.supervisor.connections

    async def _listen(self) -> None:
        config = self.config
        if config.http is not None:
            from decoder_service.server.http import start_http  # it loads prometheus_client

            server = await start_http(self, config.http)
            self.http_port = server.sockets[0].getsockname()[1]
            self._servers.append(server)
        if config.unix is not None:
            self._unix = UnixSocket(config.unix)
            self._accept_from(self._unix.listener)
        if config.tcp is not None and config.tls is None:
            listener = socket.create_server((config.tcp.host, config.tcp.port))
            self.tcp_port = listener.getsockname()[1]
            self._accept_from(listener)
        elif config.tcp is not None and config.tls is not None:
            context = tls_context(config.tls.certificate, config.tls.key)
            listener = socket.create_server((config.tcp.host, config.tcp.port))
            self.tcp_port = listener.getsockname()[1]
            self._accept_from(listener, lambda sock: self._relay(sock, context))

    def _accept_from(self, listener: socket.socket, greet: Greet | None = None) -> None:
        listener.setblocking(False)
        self._listeners.append((listener, self._keep(self._accept(listener, greet or self._handshake))))

    def _keep(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket, greet: Greet) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:
                if listener.fileno() < 0:
                    return
                log.warning("accept failed", extra={"error": str(error)})
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._keep(greet(sock))

    async def _retain(self) -> None:
        """Deletes what the state folder has too much of, now and then."""
        retention = Retention(self.config.state_bytes, self.config.state_age)
        while True:
            deleted = await asyncio.to_thread(
                retention.sweep, self.config.worker.folder, live=self.supervisor.sessions
            )
            if deleted:
                log.info("state swept", extra={"files": len(deleted), "first": deleted[0].name})
            await asyncio.sleep(self.config.sweep)

    @contextlib.asynccontextmanager
    async def _shaking_hands(self, sock: socket.socket) -> AsyncIterator[None]:
        """The time to a HELLO. It is bounded, as is the number of connections in it.

        Where there are too many, the peer with the most loses its oldest: whoever says HELLO at once gets in.
        """
        task = asyncio.current_task()
        assert task is not None
        half_open = _HalfOpen(_peer(sock), task)
        self._half_open.append(half_open)
        if len(self._half_open) > self.config.half_open:
            peers = collections.Counter(other.peer for other in self._half_open)
            greedy = peers.most_common(1)[0][0]
            oldest = next(other for other in self._half_open if other.peer == greedy)
            oldest.crowded_out = True
            oldest.task.cancel()
            self._half_open.remove(oldest)
        try:
            async with asyncio.timeout(self.config.handshake):
                yield
        except TimeoutError as error:
            message = f"no HELLO came within {self.config.handshake:g} s"
            raise HandshakeError(ErrorCode.HANDSHAKE, message) from error
        except asyncio.CancelledError as error:
            if not half_open.crowded_out:
                raise
            task.uncancel()
            message = f"{self.config.half_open} connections have not said HELLO, which is the limit"
            raise HandshakeError(ErrorCode.LIMIT, message) from error
        finally:
            if half_open in self._half_open:
                self._half_open.remove(half_open)

    async def _handshake(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            try:
                async with self._shaking_hands(sock):
                    hello = await self._hello(lambda size: _exactly(loop, sock, size))
                await self._hand_over(hello, sock)
            except HandshakeError as error:
                self.refused += 1
                await _turn_away(loop, sock, error)
            except (OSError, EOFError) as error:
                self.refused += 1
                log.info("handshake failed", extra={"error": repr(error)})

    async def _hello(self, read: Callable[[int], Awaitable[bytes]]) -> Hello:
        parser = FrameParser(limits=self.config.worker.limits)
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
        if self.config.token and not hmac.compare_digest(hello.token.encode(), self.config.token.encode()):
            raise HandshakeError(ErrorCode.UNAUTHORIZED, "HELLO has another token than the server")
        limit, known = self.config.connections, self.supervisor.sessions
        if self.supervisor.connections >= limit:
            raise HandshakeError(ErrorCode.LIMIT, f"{limit} connections are open, which is the limit")
        if hello.session not in known and len(known) >= self.config.sessions:
            raise HandshakeError(ErrorCode.LIMIT, f"{len(known)} sessions are open, which is the limit")
        return hello

    async def _hand_over(self, hello: Hello, sock: socket.socket) -> None:
        try:
            worker = await self.supervisor.assign(next(self._numbers), hello.session, sock)
        except OSError as error:
            message = f"the worker of this session just ended, connect again ({error})"
            raise HandshakeError(ErrorCode.INTERNAL, message) from error
        log.info("connected", extra={"client": hello.client, "pid": worker.process.pid})

    async def _relay(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """A TLS connection: its bytes go to a worker, and back, through a socket pair."""
        ours, theirs = socket.socketpair()
        writer = None
        try:
            with theirs:
                async with self._shaking_hands(sock):
                    reader, writer = await secure(sock, context, self.config.handshake)
                    hello = await self._hello(reader.readexactly)
                await self._hand_over(hello, theirs)
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=ours)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
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


def _peer(sock: socket.socket) -> str:
    """Who connects, as far as that is known: an address, or a user of this machine."""
    if sock.family == socket.AF_UNIX:
        _, user, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return f"user {user}"
    return str(sock.getpeername()[0])


def _refusal(error: HandshakeError) -> bytes:
    message = Error(error.code, "connection", str(error)[:1000])
    return encode_frame(Frame(FrameType.ERROR, payload=encode_message(message)))


async def _turn_away(loop: asyncio.AbstractEventLoop, sock: socket.socket, error: HandshakeError) -> None:
    """Says why, and reads on for a moment: closing with unread input would throw the answer away."""
    with contextlib.suppress(OSError, TimeoutError):
        sock.send(_refusal(error))
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(LAST_WORDS):
            while await loop.sock_recv(sock, RELAY_BYTES):
                pass


async def _exactly(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        if not part:
            raise EOFError(f"the peer left after {len(data)} of {size} bytes")
        data += part
    return data
