"""All connections of a worker with the epoll that watches them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Protocol

from decoder_service.protocol import Frame
from decoder_service.server.connection import Connection

Action = Callable[[int], None]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class EventLoop:
    """Sends, and stops reading from a client that does not read.

    Args:
        output_bytes: unsent output of a connection past which it is not read from.
        busy_poll: nanoseconds after an event for which `wait` asks again and again instead of sleeping,
            because to be woken takes longer than most rounds take to decode.
        lost: told of a connection that was closed, by either side.
    """

    def __init__(self, *, output_bytes: int, busy_poll: int, lost: Callable[[Connection], None]) -> None:
        self.connections: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._actions: dict[int, Action] = {}
        self._events: dict[int, int] = {}
        self._output_bytes = output_bytes
        self._busy_poll = busy_poll
        self._spin_until = 0
        self._lost = lost

    def wait(self, until: int) -> list[tuple[Action, int]]:
        """What happened, as (action, events); nothing if that is so until this time of the clock, in ns."""
        poll = self._epoll.poll
        ready = poll(0)
        now = time.monotonic_ns()
        spin_until = min(until, self._spin_until)
        while not ready and now < spin_until:
            ready = poll(0)
            now = time.monotonic_ns()
        if not ready and now < until:
            ready = poll((until - now) / 1e9)
            now = time.monotonic_ns()
        if ready:
            self._spin_until = now + self._busy_poll
        actions = self._actions
        happened: list[tuple[Action, int]] = []
        for fd, mask in ready:
            if fd in actions:
                happened.append((actions[fd], mask))
        return happened

    def watch(self, what: int | _HasFileno, action: Action) -> None:
        """Calls `action` with the events when `what` can be read."""
        fd = what if isinstance(what, int) else what.fileno()
        self._epoll.register(fd, select.EPOLLIN)
        self._actions[fd] = action
        self._events[fd] = select.EPOLLIN

    def send(self, connection: Connection, frames: list[Frame]) -> None:
        """Sends now what the socket takes and the rest later."""
        if connection.number not in self.connections:
            return
        if not connection.send(frames):
            self.close(connection)
        elif connection.pending:
            self._sent_in_part(connection)

    def flush(self, connection: Connection) -> bool:
        """Sends what was kept; True if the client reads again after it had stopped."""
        if not connection.flush():
            self.close(connection)
            return False
        again = connection.stalled_since is not None and 2 * connection.pending < self._output_bytes
        if again:
            connection.stalled_since = None
        self._listen(connection)
        return again

    def close(self, connection: Connection) -> None:
        """Closes a connection, once."""
        if self.connections.pop(connection.number, None) is None:
            return
        fd = connection.sock.fileno()
        if self._actions.pop(fd, None) is not None:
            del self._events[fd]
            self._epoll.unregister(fd)
        connection.close()
        self._lost(connection)

    def _sent_in_part(self, connection: Connection) -> None:
        if connection.pending > self._output_bytes and connection.stalled_since is None:
            connection.stalled_since = time.monotonic_ns()
        self._listen(connection)

    def _listen(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        events = select.EPOLLIN if connection.stalled_since is None else 0
        events |= select.EPOLLOUT if connection.pending else 0
        if fd in self._events and events and self._events[fd] != events:
            self._epoll.modify(fd, events)
            self._events[fd] = events
