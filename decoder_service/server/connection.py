"""The socket of one client in a worker: frames in, frames out, never blocking."""

from __future__ import annotations

import contextlib
import socket

from decoder_service.protocol import Frame, FrameParser, Limits, WireFault, encode_frame

RECEIVE_BYTES = 1 << 16
LAST_READS = 8


class Connection:
    """Non-blocking stream socket with a parser and an output buffer.

    Args:
        sock: connected; closed by this object from now on.
        number: the front end's name for it.
    """

    def __init__(self, sock: socket.socket, number: int, *, limits: Limits) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.number = number
        self.session = ""
        self.parser = FrameParser(limits=limits)
        self.faults = 0
        self.closing = False
        """Close as soon as the output is sent."""
        self.stalled_since: int | None = None
        """When the output buffer was last found full, in ns."""
        self._out = bytearray()

    def receive(self) -> list[Frame | WireFault] | None:
        """What arrived; None if the peer is gone."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        return self.parser.feed(data) if data else None

    def send(self, frames: list[Frame]) -> bool:
        """Sends frames, or keeps what the socket does not take; False if the peer is gone."""
        data = b"".join(map(encode_frame, frames))
        if not self._out:
            try:
                sent = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return False
            if sent == len(data):
                return True
            data = data[sent:]
        self._out += data
        return True

    def flush(self) -> bool:
        """Sends what was kept; False if the peer is gone."""
        try:
            while self._out:
                del self._out[: self.sock.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Closes; what was sent can still be read, unless the peer goes on sending at this moment."""
        with contextlib.suppress(OSError):
            self.flush()
            self.sock.shutdown(socket.SHUT_WR)
            for _ in range(LAST_READS):
                self.sock.recv(RECEIVE_BYTES)
        self.sock.close()

    @property
    def pending(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._out)
