"""Where the front end listens: a Unix socket that only its owner can open; and TLS on what it accepts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from pathlib import Path

RELAY_BYTES = 1 << 16


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

    Raises:
        ValueError: the path is in use, or is something else than a socket.
    """
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


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For TLS 1.3 and later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


async def secure(
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


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what arrives, until it ends."""
    try:
        while data := await reader.read(RELAY_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
