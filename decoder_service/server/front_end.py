"""The server: starts its processes and listens; what it accepts goes by `handshake` to a worker."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path

from decoder_service.server.config import ServerConfig
from decoder_service.server.handshake import Handshakes, tls_context
from decoder_service.server.processes import Builds, Processes
from decoder_service.server.supervisor import Supervisor, log_fault
from decoder_service.store import Retention
from decoder_service.tasks import Tasks

log = logging.getLogger("decoder_service")
DRAIN_GRACE = 2.0
"""Seconds beyond the workers' own drain time before they are killed."""

Greet = Callable[[socket.socket], Coroutine[None, None, None]]
"""What is done with an accepted connection."""


class ServerFrontEnd:
    """A running server: `async with ServerFrontEnd(config) as front_end: ...`."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.tcp_port: int | None = None
        """The port in use, once listening."""
        self.http_port: int | None = None
        self.supervisor: Supervisor
        self.handshakes: Handshakes
        self.processes: Processes
        self.builds: Builds
        self._unix: UnixSocket | None = None
        self._lock = -1
        """Holds the state folder."""
        self._servers: list[asyncio.Server] = []
        self._listeners: list[tuple[socket.socket, asyncio.Task[None]]] = []
        self._tasks = Tasks(log_fault)

    async def __aenter__(self) -> ServerFrontEnd:
        config = self.config
        self._lock = await asyncio.to_thread(config.worker.folder.lock)
        self.processes = Processes(config.worker.folder.run, beat=config.worker.beat)
        self.builds = Builds(
            self.processes, state=config.worker.state, limits=config.build, at_once=config.builds
        )
        self.supervisor = Supervisor(
            config.worker, self.processes, self.builds, workers=config.workers, deadline=config.deadline
        )
        self.handshakes = Handshakes(config, self.supervisor)
        try:
            self.processes.open(self._lock)
            await self.supervisor.start()
            await self._listen()
            self._tasks.start(self._retain)
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
        self.builds.close()
        await self._tasks.cancel()
        self.processes.close()
        os.close(self._lock)

    async def _listen(self) -> None:
        config = self.config
        if config.http is not None:
            from decoder_service.server.status import Observed, start_http  # it loads prometheus_client

            observed = Observed(self.supervisor, self.handshakes, self.builds, config.worker.folder.run)
            server = await start_http(observed, config.http)
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
            self._accept_from(listener, lambda sock: self.handshakes.greet_tls(sock, context))

    def _accept_from(self, listener: socket.socket, greet: Greet | None = None) -> None:
        listener.setblocking(False)
        accept = self._tasks.start(lambda: self._accept(listener, greet or self.handshakes.greet))
        self._listeners.append((listener, accept))

    async def _accept(self, listener: socket.socket, greet: Greet) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
                sock.setblocking(False)
                if sock.family != socket.AF_UNIX:
                    set_tcp_options(sock)
            except OSError as error:
                if listener.fileno() < 0:
                    return
                log.warning("accept failed", extra={"error": str(error)})
                await asyncio.sleep(0.1)
                continue
            self._tasks.start(lambda sock=sock: greet(sock))

    async def _retain(self) -> None:
        """Deletes what the state folder has too much of, now and then."""
        retention = Retention(self.config.state_bytes, self.config.state_age)
        while True:
            try:
                deleted = await asyncio.to_thread(
                    retention.sweep, self.config.worker.folder, live=self.supervisor.sessions
                )
            except OSError as error:
                log.error("state not swept", extra={"error": str(error)})
            else:
                if deleted:
                    log.info("state swept", extra={"files": len(deleted), "first": deleted[0].name})
            await asyncio.sleep(self.config.sweep)


def set_tcp_options(sock: socket.socket) -> None:
    """Has small frames sent at once, and a connection end whose peer is gone without a word.

    Such peers would keep their places for ever: a machine that lost its power, a cable that was pulled.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 20),  # seconds in which nothing came before the peer is asked,
        (socket.TCP_KEEPINTVL, 5),  # between two times,
        (socket.TCP_KEEPCNT, 4),  # so often
        (socket.TCP_USER_TIMEOUT, 40_000),  # ms in which what was sent must be acknowledged
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


class UnixSocket:
    """A listening Unix socket and its path.

    Raises:
        ValueError: as `listen_unix`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = listen_unix(path)
        self._identity = _identity(path)

    def remove(self) -> None:
        """Removes the path, if what is there is still this socket. The listener must be open.

        While it is, no other server takes the path, and no other file gets this one's number.
        """
        with contextlib.suppress(FileNotFoundError):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket with mode 0600; a socket that nobody listens on any more is replaced.

    Servers that start at the same time look one after the other: the folder is locked meanwhile.

    Raises:
        ValueError: the path is in use, or is something else than a socket, or its folder is none.
    """
    try:
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"cannot listen on {path}: {error.strerror} of its folder") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return _listen_unix(path)
    finally:
        os.close(folder)


def _listen_unix(path: Path) -> socket.socket:
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ValueError(f"{path} exists and is not a socket; choose another path")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ValueError(f"a server listens on {path} already; stop it or choose another path")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    old = os.umask(0o177)  # from the first moment, not after a chmod
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ValueError(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(old)
    listener.listen(64)
    return listener
