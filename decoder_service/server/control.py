"""Between the server's processes: small messages and file descriptors over SOCK_SEQPACKET pairs."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from decoder_service.protocol import Open, Reload
from decoder_service.server.config import BuildLimits, WorkerConfig

MAX_MESSAGE = 1 << 17
_MOST_DESCRIPTORS = 4


class AssignConnection(msgspec.Struct, tag=True):
    """To a worker: serve this connection, whose HELLO was accepted; its file descriptor comes along."""

    connection: int
    session: str


class Drain(msgspec.Struct, tag=True):
    """To a worker: finish what is in flight and end."""


class Built(msgspec.Struct, tag=True):
    """To a worker: the tables it asked for are in the state folder, or cannot be built."""

    key: str
    error: str = ""


class Ready(msgspec.Struct, tag=True):
    """Of a worker: it waits for connections."""


class Beat(msgspec.Struct, tag=True):
    """Of a worker: its loop is alive."""


class Build(msgspec.Struct, tag=True):
    """Of a worker: have the tables of a stream built, or those of a model that is to take over from it.

    `key` names their file; `current` is the model that has taken over before, if one has.
    """

    key: str
    options: Open
    current: Reload | None = None
    reload: Reload | None = None


class Closed(msgspec.Struct, tag=True):
    """Of a worker: the connection is over."""

    connection: int


class SessionEnded(msgspec.Struct, tag=True):
    """Of a worker: the session is over; a HELLO with its name begins another."""

    session: str


class Event(msgspec.Struct, tag=True):
    """Of a worker: a line for the server's log."""

    event: str
    fields: dict[str, str | int | float]


class StartWorker(msgspec.Struct, tag=True):
    """To the watcher: start a worker; its end of a pair comes along."""

    process: int
    config: WorkerConfig


class StartBuild(msgspec.Struct, tag=True):
    """To the watcher: start a build; the pipe for its error, if there is one, comes along."""

    process: int
    state: str
    build: Build
    limits: BuildLimits


class Kill(msgspec.Struct, tag=True):
    """To the watcher: end this process at once."""

    process: int


class Started(msgspec.Struct, tag=True):
    """Of the watcher: the process number of what was started."""

    process: int
    pid: int


class Ended(msgspec.Struct, tag=True):
    """Of the watcher: a process is gone; `status` is its exit code, or less the signal that ended it."""

    process: int
    status: int


ToWorker = AssignConnection | Drain | Built
FromWorker = Ready | Beat | Build | Closed | SessionEnded | Event
ToWatcher = StartWorker | StartBuild | Kill
FromWatcher = Started | Ended
_DECODERS: dict[Any, msgspec.msgpack.Decoder] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (ToWorker, FromWorker, ToWatcher, FromWatcher)
}


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: msgspec.Struct, *, descriptors: Sequence[int] = ()) -> None:
    """Sends a message; the receiver gets its own copies of the descriptors.

    Raises:
        OSError: the other side is gone, or, where `end` does not block, takes nothing: BlockingIOError.
    """
    data = msgspec.msgpack.encode(message)
    if descriptors:
        socket.send_fds(end, [data], list(descriptors))
    else:
        end.send(data)


def receive(end: socket.socket, kind: Any) -> tuple[Any, list[int]]:
    """The next message, of this union of types, with its descriptors; None once the other side is gone.

    Raises BlockingIOError where `end` does not block and nothing is there.
    """
    with contextlib.suppress(ConnectionResetError):
        data, descriptors, _, _ = socket.recv_fds(end, MAX_MESSAGE, _MOST_DESCRIPTORS)
        if data:
            return _DECODERS[kind].decode(data), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
    return None, []
