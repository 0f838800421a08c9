"""One client's session: its connections, one after the other, each served by a thread of its own.

The thread is in `_qecpipe.Session.serve`, without the interpreter, and comes back for what the data plane
does not do by itself (`open_streams`). Without a connection, whatever is to be done with the session is done
in the worker's loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from _qecpipe import DutyCycle, Session
from decoder_service.building import ServedDecoder
from decoder_service.protocol import ErrorCode, Frame, encode_frame, error_frame
from decoder_service.scheduling import running_share, schedule
from decoder_service.server.jobs import Jobs
from decoder_service.server.open_streams import OpenStreams
from decoder_service.store import RestoredStream

TICK = 1.0
"""Seconds between two reports of a session that is served, and looks at its slow reader."""
LAST_WORDS = 1.0
"""Seconds in which a client can take what is left for it at the end of a connection."""
RECEIVE_BYTES = 1 << 16


class ClientSession:
    """All streams under one session name. Where nothing is said, methods are for the thread that has it.

    Args:
        name: of the session.
        jobs: what the worker does for it.
        left: is told, in the session's thread, that a connection is closed and its thread at its end.
    """

    def __init__(self, name: str, jobs: Jobs, *, left: Callable[[ClientSession, int], None]) -> None:
        self.name = name
        self.detached_since = time.monotonic()
        self.failed = False
        """By a fault of ours: it is not served any more; its journals stay."""
        self._jobs = jobs
        self._left = left
        config = jobs.config
        self._plane = Session(
            **config.limits._asdict(),
            faults=config.faults,
            output_bytes=config.output_bytes,
            time_slice_ns=round(config.time_slice * 1e9),
        )
        self.streams = OpenStreams(name, jobs, self._plane, self.post)
        self._lock = threading.Lock()
        self._serving = self._ended = False
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._leaving = False
        self._stalled_since: float | None = None

    def serve(self, sock: socket.socket, connection: int, welcome: Frame) -> None:
        """Goes on over this connection, in a thread of its own; the worker's loop calls it.

        Raises:
            RuntimeError: there are as many threads as there may be.
        """
        thread = threading.Thread(
            target=self._thread, args=(sock, connection, welcome), name=self.name[:8], daemon=True
        )
        self._serving, self._leaving = True, False
        try:
            thread.start()
        except RuntimeError:
            self._serving = False
            raise

    def post(self, action: Callable[[], None]) -> None:
        """Does this in the session's thread or, without one, here; the worker's loop calls it.

        A session that was ended meanwhile has no use for it.
        """
        with self._lock:
            if self._ended:
                return
            if self._serving:
                self._inbox.append(action)
                os.eventfd_write(self._wake, 1)
                return
        self._guarded(action)

    def leave(self, code: ErrorCode | None, message: str = "") -> None:
        """Ends the connection, if there is one, with an ERROR or without."""

        def leave() -> None:
            if code is not None:
                self._send(error_frame(0, code, "connection", message))
            self._leaving = True

        self.post(leave)

    def drain(self) -> None:
        """The server is about to end: no stream is opened any more."""

        def drain() -> None:
            self.streams.draining = True
            message = "the server ends when the shots in flight are done"
            self._send(error_frame(0, ErrorCode.DRAINING, "connection", message))

        self.post(drain)

    def add(self, restored: RestoredStream[ServedDecoder]) -> None:
        """Takes in a stream from its journal."""
        self.streams.add(restored)

    def publish(self) -> None:
        """Has the streams shown as they are now, and counted what they did."""
        self.streams.sample(connected=self._serving)

    def end(self) -> None:
        """Takes out all streams, for good if the session is over; else their journals stay."""
        self._ended = True
        try:
            self.streams.end()
        finally:
            os.close(self._wake)

    @property
    def finished(self) -> bool:
        """Whether there is nothing that a connection could resume, or that it may."""
        return self.streams.over or self.failed or (not self.streams.by_number and self.at_rest)

    @property
    def at_rest(self) -> bool:
        """Whether every stream is between two shots with nothing in flight, and none is being opened."""
        return self.streams.at_rest

    # The thread of a connection.

    def _thread(self, sock: socket.socket, connection: int, welcome: Frame) -> None:
        with sock:
            self._guarded(lambda: self._serve(sock, welcome))
            if self.failed:
                self._send(
                    error_frame(0, ErrorCode.INTERNAL, "connection", "the session failed; connect again")
                )
            _say(sock, self._plane.take_output())
        self.streams.upload.drop()
        self.detached_since = time.monotonic()
        while True:
            with self._lock:
                if not self._inbox:
                    self._serving = False
                    break
                action = self._inbox.popleft()
            self._guarded(action)
        self._left(self, connection)

    def _serve(self, sock: socket.socket, welcome: Frame) -> None:
        """Until the connection is over, from either side."""
        plane, config = self._plane, self._jobs.config
        plane.attach()
        self._stalled_since = None
        schedule(config.cores, realtime=config.realtime)
        duty = DutyCycle(running_share(realtime=config.realtime))
        self._send(welcome)
        reported = time.monotonic()
        while not (self._leaving or self.streams.over or (self.streams.draining and self.at_rest)):
            timeout = 0.02 if self.streams.draining else TICK
            why = plane.serve(
                sock.fileno(), wake_fd=self._wake, timeout=timeout, busy_poll=config.busy_poll, duty=duty
            )
            self.streams.handle_events()
            while self._inbox:
                self._inbox.popleft()()
            now = time.monotonic()
            if now - reported >= TICK:
                reported = now
                self.publish()
            if why in ("closed", "finished") or self._reader_is_gone(now):
                break
        more = True
        while more:  # a resume must find done what was accepted, also behind a window that was built only now
            more = plane.work()
            more = self.streams.handle_events() or more
        self.publish()

    def _reader_is_gone(self, now: float) -> bool:
        """Whether a full output buffer was left unread for too long."""
        if not self._plane.stalled:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        return self._stalled_since is not None and now - self._stalled_since > self._jobs.config.slow_reader

    def _guarded(self, action: Callable[[], None]) -> None:
        """A fault costs this session, whose journals stay, and no other one."""
        try:
            action()
        except Exception:  # noqa: BLE001 - whatever it is: other sessions are served by this process
            self.failed = True
            self._jobs.event("session failed", session=self.name[:8], reason=traceback.format_exc()[-4000:])

    def _send(self, frame: Frame) -> None:
        self._plane.send(encode_frame(frame))


def _say(sock: socket.socket, data: bytes) -> None:
    """Sends what is left, and reads what came meanwhile: unread it would throw away what was sent."""
    with contextlib.suppress(OSError):
        sock.settimeout(LAST_WORDS)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        sock.setblocking(False)
        for _ in range(8):
            sock.recv(RECEIVE_BYTES)
