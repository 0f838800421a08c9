"""A session in its thread, without a worker."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import _qecpipe
from decoder_service.protocol import (
    Close,
    Error,
    ErrorCode,
    Frame,
    FrameParser,
    FrameType,
    Open,
    decode_message,
    encode_frame,
    encode_message,
)
from decoder_service.server import WorkerConfig
from decoder_service.server.client_session import ClientSession
from decoder_service.server.metrics import Samples, WorkerMetrics
from decoder_service.store import UploadBudget


class BrokenWorker:
    """Fails whatever it is asked for."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        self.samples = Samples(self.metrics)
        self.uploads = UploadBudget(max_bytes=100)
        self.events: list[str] = []
        self.over = threading.Event()

    def decoder(self, session: str, options: Open, answer: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    def event(self, event: str, **fields: Any) -> None:
        self.events.append(f"{event}: {fields}")

    def left(self, session: ClientSession, connection: int) -> None:
        assert connection == 7
        self.over.set()


def _frames(sock: socket.socket) -> list[Frame]:
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    return [item for item in FrameParser().feed(data) if isinstance(item, Frame)]


@pytest.fixture
def worker(tmp_path: Path) -> BrokenWorker:
    return BrokenWorker(WorkerConfig(state=str(tmp_path)))


def test_a_fault_of_ours_costs_the_session_and_is_logged(worker: BrokenWorker) -> None:
    """Every OPEN once killed the worker, with all its sessions, for a NaN in a flag."""
    session = ClientSession("0" * 32, cast(Any, worker), left=worker.left)
    ours, theirs = socket.socketpair()
    with ours:
        session.serve(theirs, 7, Frame(FrameType.HELLO))
        ours.sendall(encode_frame(Frame(FrameType.OPEN, 3, payload=encode_message(Open(model="0" * 64)))))
        hello, error = _frames(ours)
    assert hello.type == FrameType.HELLO
    assert decode_message(error.payload, Error).code is ErrorCode.INTERNAL
    assert worker.over.wait(10)
    assert session.failed
    (event,) = worker.events
    assert event.startswith("session failed")
    assert "ZeroDivisionError: a fault of ours" in event
    session.end()


def test_a_session_whose_thread_may_not_run_where_it_has_to_is_not_served(tmp_path: Path) -> None:
    """It was served to its end on other cores, and only then called failed."""
    worker = BrokenWorker(WorkerConfig(state=str(tmp_path), cores=(1 << 20,)))
    session = ClientSession("0" * 32, cast(Any, worker), left=worker.left)
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(encode_frame(Frame(FrameType.PING)))
        session.serve(theirs, 7, Frame(FrameType.HELLO))
        (error,) = _frames(ours)
    assert decode_message(error.payload, Error).code is ErrorCode.INTERNAL
    assert worker.over.wait(10)
    assert session.failed
    (event,) = worker.events
    assert "OSError" in event
    session.end()


def test_a_session_that_finds_no_thread_can_be_served_later(
    worker: BrokenWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked of it from then on was never done, and the next connection waited for ever."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    session = ClientSession("0" * 32, cast(Any, worker), left=worker.left)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                session.serve(theirs, 7, Frame(FrameType.HELLO))
        done: list[str] = []
        session.post(lambda: done.append("here"))
        assert done == ["here"]
        session.serve(theirs, 7, Frame(FrameType.HELLO))
        session.leave(None)
        (hello,) = _frames(ours)
    assert hello.type == FrameType.HELLO
    assert worker.over.wait(10)
    session.end()


def test_what_is_posted_is_done_by_the_thread_or_here_and_not_after_the_end(worker: BrokenWorker) -> None:
    session = ClientSession("0" * 32, cast(Any, worker), left=worker.left)
    done: list[str] = []
    session.post(lambda: done.append(threading.current_thread().name))
    ours, theirs = socket.socketpair()
    with ours:
        session.serve(theirs, 7, Frame(FrameType.HELLO))
        session.post(lambda: done.append(threading.current_thread().name))
        session.leave(ErrorCode.SUPERSEDED, "another connection took over")
        hello, error = _frames(ours)
    assert (hello.type, error.type) == (FrameType.HELLO, FrameType.ERROR)
    assert worker.over.wait(10)
    assert done == [threading.current_thread().name, session.name[:8]]
    session.end()
    session.post(lambda: done.append("never"))
    assert len(done) == 2


def test_what_happens_to_a_stream_after_its_close_is_nothing(worker: BrokenWorker) -> None:
    """A RELOAD that was built just before CLOSE came took over after it, which failed the whole session."""
    swapped: list[int] = []
    session = ClientSession("0" * 32, cast(Any, worker), left=worker.left)
    plane = session._plane
    decoder = _qecpipe.ParityDecoder(
        layers=[(2, 8)], final_bits=8, num_observables=1, commit=2, model=b"\x01" * 8
    )
    decoder.prepare(b"\x02" * 8)
    plane.open(
        3,
        decoder,
        layers=[(2, 8)],
        final_bits=8,
        num_observables=1,
        commit=2,
        window=8,
        gap_deadline_ns=10**9,
    )
    totals = dict.fromkeys(("shots", "commits", "erased", "failed"), 0)
    stream = SimpleNamespace(
        number=3,
        meter=None,
        sample=lambda **_: SimpleNamespace(totals=totals),
        leave=lambda **_: plane.close(3),
        swapped=lambda: swapped.append(3),
    )
    session.streams.by_number[3] = cast(Any, stream)
    plane.announce(3)
    plane.swap(3, "ab" * 32, "dem")
    plane.feed(encode_frame(Frame(FrameType.CLOSE, 3, payload=encode_message(Close()))))
    assert not plane.work()
    assert session.streams.handle_events()
    assert swapped == [3]
    assert session.streams.by_number == {}
    assert plane.streams == []
    said = [item for item in FrameParser().feed(plane.take_output()) if isinstance(item, Frame)]
    assert [frame.type for frame in said] == [FrameType.RELOAD, FrameType.CLOSE]
    assert not session.streams.handle_events()
    session.end()
