"""Between the front end and its workers: small messages and file descriptors over a SOCK_SEQPACKET pair."""

from __future__ import annotations

import os
import socket

import msgspec

from decoder_service.server.metrics import Snapshot, StreamGauge

MAX_MESSAGE = 1 << 17


class AssignConnection(msgspec.Struct, tag=True):
    """Front end: serve this connection, whose HELLO was accepted; its file descriptor comes along."""

    connection: int
    session: str


class Drain(msgspec.Struct, tag=True):
    """Front end: finish what is in flight and end."""


class KeepWarm(msgspec.Struct, tag=True):
    """Front end, to a spare: keep this many decoders of a kind (`warm_spare.key_of`) warm."""

    key: bytes
    count: int


class StreamRegistered(msgspec.Struct, tag=True):
    """Worker: a stream of this kind is registered or, with an empty key, no longer is."""

    session: str
    stream: int
    key: bytes


class Ready(msgspec.Struct, tag=True):
    """Worker: imported and waiting."""

    pid: int


class Closed(msgspec.Struct, tag=True):
    """Worker: the connection is over."""

    connection: int


class SessionEnded(msgspec.Struct, tag=True):
    """Worker: the session is over; a HELLO with its name begins another."""

    session: str


class Report(msgspec.Struct, tag=True):
    """Worker: what it did since its last report; a Gauge of each of `streams` streams follows."""

    snapshot: Snapshot
    streams: int


class Gauge(msgspec.Struct, tag=True):
    """Worker: one stream, as a part of the report before it."""

    gauge: StreamGauge


class Event(msgspec.Struct, tag=True):
    """Worker: a line for the front end's log."""

    event: str
    fields: dict[str, str | int | float]


ToWorker = AssignConnection | Drain | KeepWarm
ToFrontEnd = Ready | Closed | SessionEnded | Report | Gauge | StreamRegistered | Event
_TO_WORKER = msgspec.msgpack.Decoder(ToWorker)
_TO_FRONT_END = msgspec.msgpack.Decoder(ToFrontEnd)


def pair() -> tuple[socket.socket, socket.socket]:
    """The front end's socket and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: msgspec.Struct, *, descriptor: int | None = None) -> None:
    """Sends a message; the receiver gets its own copy of the descriptor."""
    data = msgspec.msgpack.encode(message)
    if descriptor is None:
        end.sendall(data)
    else:
        socket.send_fds(end, [data], [descriptor])


def offer(end: socket.socket, message: msgspec.Struct) -> bool:
    """Sends a message unless that would have to wait; whether it was sent."""
    try:
        end.send(msgspec.msgpack.encode(message), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def receive_as_worker(end: socket.socket) -> tuple[ToWorker | None, int | None]:
    """The next message and its descriptor; None once the front end is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(end, MAX_MESSAGE, 4)
    except ConnectionResetError:
        return None, None
    if not data:
        return None, None
    for extra in descriptors[1:]:
        os.close(extra)
    return _TO_WORKER.decode(data), (descriptors[0] if descriptors else None)


def receive_as_front_end(end: socket.socket) -> ToFrontEnd | None:
    """The next message; None once the worker is gone."""
    try:
        data = end.recv(MAX_MESSAGE)
    except ConnectionResetError:
        return None
    return _TO_FRONT_END.decode(data) if data else None
