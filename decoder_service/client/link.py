"""The client's socket: connected, plain or TLS; written to and read from with as few calls as can be."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from pathlib import Path

from decoder_service.client.errors import DisconnectedError

RECEIVE_BYTES = 1 << 16
Address = str | Path | tuple[str, int]
_NOW = socket.MSG_DONTWAIT


def connect(address: Address, *, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """A connected socket. Raises DisconnectedError if nobody listens, or is not who the context trusts."""
    try:
        return _connected(address, tls=tls, timeout=timeout)
    except OSError as error:
        message = f"no service at {address}: {error.strerror or error}; start one: qecpipe serve"
        raise DisconnectedError(message) from error


def send_all(sock: socket.socket, data: bytes, *, timeout: float) -> None:
    """Sends everything. Raises OSError if the peer is gone, or takes nothing for `timeout` seconds."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(timeout)
        sock.sendall(data)
        return
    # With a timeout set, Python would ask before every call whether it can write.
    sent = _send(sock, data)
    while sent < len(data):
        if not select.select([], [sock], [], timeout)[1]:
            raise TimeoutError(f"the service took nothing for {timeout} s")
        data = data[sent:]
        sent = _send(sock, data)


def receive(sock: socket.socket, *, timeout: float, busy_poll: float) -> bytes | None:
    """What arrives within `timeout` seconds, b"" at the end of the connection, None if nothing.

    Args:
        busy_poll: seconds of the timeout in which to ask again and again instead of sleeping.
    """
    if isinstance(sock, ssl.SSLSocket):
        return _receive_tls(sock, timeout)
    if timeout <= 0:
        return _receive(sock)
    start = time.monotonic()
    spin_until = start + min(timeout, busy_poll)
    while (data := _receive(sock)) is None and time.monotonic() < spin_until:
        pass
    if data is not None:
        return data
    # A socket's own timeout is rounded up to milliseconds; that of select is not.
    left = start + timeout - time.monotonic()
    return _receive(sock) if select.select([sock], [], [], max(0.0, left))[0] else None


def usual_busy_poll() -> float:
    """About what it costs to be woken, in seconds; none where the service needs the only core to answer."""
    return 0.0002 if len(os.sched_getaffinity(0)) > 1 else 0.0


def _connected(address: Address, *, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    if isinstance(address, tuple):
        sock = socket.create_connection(address, timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            return tls.wrap_socket(sock, server_hostname=address[0])
    else:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(address))
        except OSError:
            sock.close()
            raise
    sock.setblocking(True)
    return sock


def _send(sock: socket.socket, data: bytes) -> int:
    try:
        return sock.send(data, _NOW)
    except BlockingIOError:
        return 0


def _receive(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(RECEIVE_BYTES, _NOW)
    except BlockingIOError:
        return None


def _receive_tls(sock: ssl.SSLSocket, timeout: float) -> bytes | None:
    if not sock.pending() and not select.select([sock], [], [], timeout)[0]:
        return None
    sock.settimeout(0)
    try:
        return sock.recv(RECEIVE_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
