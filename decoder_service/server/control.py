"""What the server's processes tell each other: small messages and file descriptors over SOCK_SEQPACKET pairs.

And, in a file that it replaces once a second, the state of a worker, for whoever looks.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from decoder_service.building import Build, BuildLimits
from decoder_service.server.config import WorkerConfig
from decoder_service.store import PART

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
    """Of a worker or the watcher: its loop is alive."""


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
    """To the watcher: start the worker of a slot; its end of a pair comes along."""

    process: int
    slot: int
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
    """Of the watcher: a process is gone; `status` is its exit code, or less the signal that ended it.

    `error` says why one that never was could not be started.
    """

    process: int
    status: int
    error: str = ""


ToWorker = AssignConnection | Drain | Built
FromWorker = Ready | Beat | Build | Closed | SessionEnded | Event
ToWatcher = StartWorker | StartBuild | Kill
FromWatcher = Started | Beat | Ended
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


class StreamStatus(msgspec.Struct):
    """A stream as it is now.

    `density` are shares of rounds in which each stabilizer fired, `mean` of all of them, `baseline` the same
    at the stream's beginning, `drift` their difference in standard errors.
    """

    session: str
    stream: int
    model_id: str
    model_age: float
    in_flight: int
    window: int
    connected: bool
    density: list[float]
    mean: float
    baseline: float
    drift: float


class WorkerStatus(msgspec.Struct):
    """A worker as it is now; `busy` is its share of a core since the last time."""

    slot: int
    pid: int
    busy: float
    resident_bytes: int
    sessions: int
    streams: list[StreamStatus]

    def write(self, folder: Path) -> None:
        """Replaces the worker's file."""
        path = folder / f"worker_{self.slot}.json"
        part = path.with_suffix(PART)
        part.write_bytes(msgspec.json.encode(self))
        part.replace(path)

    @classmethod
    def read(cls, folder: Path, slot: int) -> WorkerStatus | None:
        """What the worker of a slot wrote last, None if nothing yet."""
        try:
            return msgspec.json.decode((folder / f"worker_{slot}.json").read_bytes(), type=cls)
        except FileNotFoundError:
            return None
