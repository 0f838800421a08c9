"""Whose turn it is where streams have work, and how much of a core a thread takes that never sleeps."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import _qecpipe
from decoder_service import scheduling
from decoder_service.protocol import Frame, FrameParser, FrameType, encode_block, encode_frame

WIDE: dict[str, Any] = {"layers": [(4, 8)], "final_bits": 8, "num_observables": 8}
COMMITS = (FrameType.COMMIT, FrameType.RESULT)


def shots(stream: int, *, first: int = 0, count: int = 1) -> bytes:
    """Whole shots of five rows, a frame each."""
    payload = encode_block([bytes([at]) for at in range(5)])
    frames = [Frame(FrameType.FINAL, stream, first + k, 0, payload) for k in range(count)]
    return b"".join(map(encode_frame, frames))


def session_of(*streams: int, **options: Any) -> _qecpipe.Session:
    session = _qecpipe.Session(**options)
    for number in streams:
        decoder = _qecpipe.ParityDecoder(**WIDE, commit=2, model=b"\x01" * 8)
        session.open(number, decoder, **WIDE, commit=2, window=1000, gap_deadline_ns=10**9)
        session.announce(number)
    return session


def said_in_turn(session: _qecpipe.Session) -> list[set[int]]:
    """The streams with outputs after every turn."""
    turns: list[set[int]] = []
    more = True
    while more:
        more = session.work()
        items = FrameParser().feed(session.take_output())
        turns.append({item.stream for item in items if isinstance(item, Frame) and item.type in COMMITS})
    return turns


def test_streams_have_their_turns_in_the_order_of_their_frames() -> None:
    """Outputs of all were once sent when the last stream was done, and those of low numbers came first."""
    session = session_of(1, 4, 6, 9, time_slice_ns=10**9)  # longer than any machine needs for one
    session.feed(shots(6) + shots(9) + shots(1) + shots(6, first=1) + shots(4))
    assert said_in_turn(session) == [{6}, {9}, {1}, {4}]
    session.feed(shots(4, first=1))
    session.feed(shots(1, first=1))
    assert said_in_turn(session) == [{4}, {1}]


def test_a_stream_with_much_to_do_goes_behind_the_others_after_its_time_slice() -> None:
    session = session_of(1, 2, 3, time_slice_ns=1)
    session.feed(shots(1, count=3) + shots(2, count=2) + shots(3))
    assert said_in_turn(session) == [{1}, {2}, {3}, {1}, {2}, {1}]


def running(action: Any) -> float:
    """Share of the time that this thread ran meanwhile."""
    ran, begin = time.thread_time(), time.monotonic()
    action()
    return (time.thread_time() - ran) / (time.monotonic() - begin)


def test_a_session_that_never_sleeps_rests_for_its_share_and_answers() -> None:
    session = session_of(0)
    ours, theirs = socket.socketpair()
    found: list[float] = []
    duty = _qecpipe.DutyCycle(0.3)

    def serve() -> None:
        options: dict[str, Any] = {"timeout": 0.4, "busy_poll": 60.0, "duty": duty}
        found.append(running(lambda: session.serve(theirs.fileno(), **options)))

    thread = threading.Thread(target=serve)
    with ours, theirs:
        thread.start()
        ours.settimeout(10)
        for epoch in range(20):
            ours.sendall(shots(0, first=epoch))
            parser = FrameParser()
            while not any(item.type == FrameType.RESULT for item in parser.feed(ours.recv(1 << 16))):
                pass
        thread.join()
    assert 0 < found[0] < 0.4


def test_a_load_that_never_sleeps_rests_for_its_share() -> None:
    nothing: dict[str, Any] = {name: np.zeros(0, np.int64) for name in ("due", "end", "stream", "rows")}
    times: dict[str, Any] = {"spin": 60.0, "max_lag": 60.0, "silence": 60.0}
    pump = _qecpipe.LoadPump(
        data=b"", **nothing, streams=[(0, 5, 0, 100)], **times, running=0.3, outputs=1, output_bytes=100
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert running(lambda: pump.run(ours.fileno(), lead=0.0, time=0.4)) < 0.4


@pytest.mark.parametrize("share", [0.0, -0.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """Not a number was slept, as an undefined number of nanoseconds."""
    with pytest.raises(ValueError, match="above 0"):
        _qecpipe.DutyCycle(share)


@pytest.mark.parametrize(
    ("runtime", "share"), [("950000", 0.93), ("-1", 0.93), ("1000000", 0.93), ("500000", 0.48), ("0", 0.93)]
)
def test_the_share_of_real_time_threads_is_below_the_kernels_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, share: float
) -> None:
    (tmp_path / "sched_rt_runtime_us").write_text(runtime)
    (tmp_path / "sched_rt_period_us").write_text("1000000\n")
    monkeypatch.setattr(scheduling, "_LIMIT", tmp_path)
    assert scheduling.running_share(realtime=True) == pytest.approx(share)
    assert scheduling.running_share(realtime=False) == 1
    monkeypatch.setattr(scheduling, "_LIMIT", tmp_path / "none")
    assert scheduling.running_share(realtime=True) == pytest.approx(0.93)
