"""All connections of a worker with the selector that watches them."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Any

from decoder_service.server.connection import Connection
from decoder_service.wire import Frame


class Wires:
    """Sends, and stops reading from a client that does not read.

    Args:
        output_bytes: unsent output of a connection past which it is not read from.
        lost: told of a connection that was closed, by either side.
    """

    def __init__(self, *, output_bytes: int, lost: Callable[[Connection], None]) -> None:
        self.selector = selectors.DefaultSelector()
        self.connections: dict[int, Connection] = {}
        self._output_bytes = output_bytes
        self._lost = lost

    def watch(self, what: Any, action: Callable[[int], None]) -> None:
        """Calls `action` with the events when `what` can be read."""
        self.selector.register(what, selectors.EVENT_READ, action)

    def send(self, connection: Connection, frames: list[Frame]) -> None:
        """Sends now what the socket takes and the rest later."""
        if connection.number not in self.connections:
            return
        if not connection.send(frames):
            self.close(connection)
            return
        if connection.pending:
            if connection.pending > self._output_bytes and connection.stalled_since is None:
                connection.stalled_since = time.monotonic_ns()
            self._listen(connection)

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
        if self.selector.get_map().get(connection.sock) is not None:
            self.selector.unregister(connection.sock)
        connection.close()
        self._lost(connection)

    def _listen(self, connection: Connection) -> None:
        events = selectors.EVENT_READ if connection.stalled_since is None else 0
        events |= selectors.EVENT_WRITE if connection.pending else 0
        key = self.selector.get_map().get(connection.sock)
        if key is not None and events and key.events != events:
            self.selector.modify(connection.sock, events, key.data)
