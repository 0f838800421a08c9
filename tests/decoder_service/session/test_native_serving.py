"""The native session on a socket: what returns to Python, what waits, and what ends a connection."""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib

import pytest

import _qecpipe
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Hello,
    encode_frame,
    encode_message,
    without_times,
)

from .native_sessions import OUTPUTS, block, frames, opened, parity, work


def serving(session: _qecpipe.Session, **options) -> tuple[socket.socket, threading.Thread, list[str]]:
    """A session on a socket pair, in a thread, until its first reason to return that is no timeout."""
    ours, theirs = socket.socketpair()
    reasons: list[str] = []

    def serve() -> None:
        with theirs:
            while not reasons or reasons[-1] == "timeout":
                reasons.append(session.serve(theirs.fileno(), timeout=0.05, **options))

    thread = threading.Thread(target=serve)
    thread.start()
    return ours, thread, reasons


def receive(sock: socket.socket, count: int) -> list[Frame]:
    """So many outputs, and what came with them."""
    parser, got = FrameParser(), []
    while sum(frame.type in OUTPUTS for frame in got) < count:
        data = sock.recv(65536)
        assert data
        got += parser.feed(data)
    return got


@pytest.mark.parametrize("busy_poll", [0.0, 0.001])
def test_served_on_a_socket_it_is_the_same_as_without(busy_poll: float) -> None:
    data = b"".join(block(epoch, at, 1) for epoch in range(50) for at in range(7))
    alone, served = _qecpipe.Session(), _qecpipe.Session()
    for session in (alone, served):
        opened(session, parity(), window=400)
    alone.feed(data)
    work(alone)
    expected = [without_times(f) for f in frames(alone.take_output()) if f.type in OUTPUTS]
    ours, thread, reasons = serving(served, busy_poll=busy_poll)
    with ours:
        for at in range(0, len(data), 100):
            ours.sendall(data[at : at + 100])
        got = receive(ours, len(expected))
    thread.join()
    assert [without_times(frame) for frame in got if frame.type in OUTPUTS] == expected
    assert reasons[-1] == "closed"


def test_control_frames_and_wake_ups_return_to_python() -> None:
    session = _qecpipe.Session()
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    ours, thread, reasons = serving(session, wake_fd=wake)
    hello = Frame(FrameType.HELLO, payload=encode_message(Hello(session="0" * 32)))
    ours.sendall(encode_frame(hello))
    thread.join()
    assert reasons[-1] == "events"
    (event,) = session.take_events()
    assert isinstance(event, _qecpipe.ControlFrame)
    assert (event.type, event.payload) == (FrameType.HELLO, hello.payload)
    ours.close()
    ours, thread, reasons = serving(session, wake_fd=wake)
    os.write(waker, b"x")
    thread.join()
    assert reasons[-1] == "woken"
    ours.close()
    os.close(wake)
    os.close(waker)


def test_deadlines_are_kept_while_nothing_arrives() -> None:
    session = _qecpipe.Session()
    opened(session, parity(), gap_deadline_ns=200_000_000)
    ours, thread, _ = serving(session)
    with ours:
        ours.sendall(block(0, 0, 2) + block(0, 3, 4))
        got = receive(ours, 4)
    thread.join()
    assert sum(frame.type == FrameType.NACK for frame in got) >= 2
    assert {frame.flags for frame in got if frame.type == FrameType.RESULT} == {int(Flag.DEGRADED)}


def test_a_client_that_does_not_read_stops_the_decoding_and_nothing_grows() -> None:
    session = _qecpipe.Session(output_bytes=4096)
    opened(session, parity(), window=64)
    ours, thread, reasons = serving(session)
    data = b"".join(block(epoch, 0, 7) for epoch in range(20_000))
    ours.settimeout(0.5)
    with ours:
        with pytest.raises(TimeoutError):
            ours.sendall(data)
        time.sleep(0.1)
    thread.join()
    assert reasons[-1] == "closed"
    assert session.stalled
    assert session.place(0)[0] < 20_000


def test_after_a_fatal_fault_the_answer_is_sent_and_the_connection_over() -> None:
    session = _qecpipe.Session()
    ours, thread, reasons = serving(session)
    wrong = bytearray(block(0, 0, 1))
    wrong[2] = 1
    wrong[30:32] = (zlib.crc32(wrong[:30]) & 0xFFFF).to_bytes(2, "little")
    with ours:
        ours.sendall(wrong)
        parser, got = FrameParser(), []
        while data := ours.recv(4096):
            got += parser.feed(data)
    thread.join()
    assert [frame.type for frame in got] == [FrameType.ERROR]
    assert b"version 1" in got[0].payload
    assert reasons[-1] == "finished" or reasons[-1] == "events"


def test_a_second_thread_is_refused() -> None:
    """Both would have changed what the other one reads."""
    session = _qecpipe.Session()
    opened(session, parity())
    wake, waker = os.pipe()
    ours, theirs = socket.socketpair()
    thread = threading.Thread(
        target=session.serve, args=(theirs.fileno(),), kwargs={"wake_fd": wake, "timeout": 60}
    )
    thread.start()
    ours.sendall(block(0, 0, 7))
    receive(ours, 1)  # it is in the other thread's hands
    for call in (
        lambda: session.feed(b""),
        session.work,
        session.tick,
        session.take_output,
        session.take_events,
        lambda: session.stats(0),
        lambda: session.close(0),
        lambda: session.stalled,
        lambda: session.serve(theirs.fileno(), timeout=0),
    ):
        with pytest.raises(RuntimeError, match="another thread uses this session now"):
            call()
    os.write(waker, b"x")
    thread.join()
    assert session.stats(0)["shots"] == 1
    for descriptor in (ours, theirs):
        descriptor.close()
    os.close(wake)
    os.close(waker)


def test_no_timeout_is_as_long_as_it_takes() -> None:
    """Infinity was converted to a number of ns that no integer holds, and `serve` returned at once."""
    session = _qecpipe.Session()
    wake, waker = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Timer(0.2, os.write, (waker, b"x")).start()
        begin = time.monotonic()
        assert session.serve(theirs.fileno(), wake_fd=wake, timeout=float("inf")) == "woken"
        assert time.monotonic() - begin > 0.1
        for wrong in (float("nan"), -1.0):
            with pytest.raises(ValueError, match="timeout is"):
                session.serve(theirs.fileno(), timeout=wrong)
            with pytest.raises(ValueError, match="busy_poll is"):
                session.serve(theirs.fileno(), timeout=0.0, busy_poll=wrong)
    os.close(wake)
    os.close(waker)
