"""Frames of the client that come together with what happens in the data plane, which they did not ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import _qecpipe
from decoder_service.building import build_decoder
from decoder_service.protocol import (
    Close,
    Error,
    ErrorCode,
    Frame,
    FrameParser,
    FrameType,
    Open,
    Opened,
    Reload,
    decode_message,
    encode_frame,
    encode_message,
)
from decoder_service.server import WorkerConfig
from decoder_service.server.metrics import Samples, WorkerMetrics
from decoder_service.server.open_streams import OpenStreams
from decoder_service.server.server_stream import ServerStream
from decoder_service.store import Position, StreamHead, UploadBudget

OLD, NEW, NEXT = "0" * 64, "1" * 64, "2" * 64


class Session:
    """A session with stream 3, whose journal is the file `fd`, between two connections."""

    def __init__(self, kit: Any, *, fd: int = -1, device: str = "cpu", predecoder: str | None = None) -> None:
        self.plane = _qecpipe.Session()
        self.asked: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        jobs = SimpleNamespace(
            config=WorkerConfig(state="nowhere"),
            uploads=UploadBudget(max_bytes=1),
            metrics=(metrics := WorkerMetrics()),
            samples=Samples(metrics),
            event=lambda event, **fields: self.events.append((event, fields)),
            model=lambda _session, _head, reload, *_: self.asked.append(reload.model),
        )
        self.streams = OpenStreams("0" * 32, cast(Any, jobs), self.plane, lambda action: action())
        options = Open(model=OLD, predecoder=predecoder, **kit.options)
        journal = SimpleNamespace(fd=fd, size=0, close=lambda: None)
        decoder = build_decoder(options, kit.text, device=device)
        self.stream = ServerStream(StreamHead(3, options, 64, 10**9), decoder, cast(Any, journal), self.plane)
        self.streams._adopt(self.stream, Position(0, 0, 0))
        dem = kit.other.detector_error_model(decompose_errors=True)
        self.stream.wanted = Reload(model=NEW)
        self.stream.prepare(decoder.inner.prepare(dem, rounds=decoder.shape.rounds))
        self.plane.swap(3, NEW, "dem")  # without a connection, nobody lets it take over
        self.plane.attach()

    def said(self, *frames: Frame) -> list[Frame]:
        """The answers to frames that come at once."""
        self.plane.feed(b"".join(map(encode_frame, frames)))
        self.plane.work()
        assert self.streams.handle_events()
        items = FrameParser().feed(self.plane.take_output())
        return [item for item in items if isinstance(item, Frame)]


@pytest.fixture
def full() -> Iterator[int]:
    """A file on a disk that is full."""
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


def codes(frames: list[Frame]) -> list[ErrorCode]:
    return [decode_message(frame.payload, Error).code for frame in frames]


def resumed() -> Frame:
    return Frame(FrameType.OPEN, 3, payload=encode_message(Open(model=OLD, resume_after=0)))


def test_a_model_that_takes_over_as_a_client_comes_back_is_the_one_that_opened_names(kit) -> None:
    """OPENED named the old model, though every output to come was of the new one."""
    session = Session(kit)
    (frame,) = session.said(resumed())
    opened = decode_message(frame.payload, Opened)
    dem = kit.other.detector_error_model(decompose_errors=True)
    fresh = build_decoder(Open(model=NEW, kind="dem", **kit.options), str(dem))
    assert (opened.model, opened.model_id) == (NEW, fresh.model_id.hex())


def test_a_reload_that_comes_as_the_last_one_is_done_is_not_refused(kit) -> None:
    session = Session(kit)
    assert session.said(Frame(FrameType.RELOAD, 3, payload=encode_message(Reload(model=NEXT)))) == []
    assert session.asked == [NEXT]


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (resumed(), ErrorCode.RESUME_LOST),
        (Frame(FrameType.CLOSE, 3, payload=encode_message(Close())), ErrorCode.UNKNOWN_STREAM),
    ],
)
def test_a_journal_that_fails_as_its_client_asks_for_the_stream_costs_the_stream_alone(
    kit, full: int, frame: Frame, answer: ErrorCode
) -> None:
    """The data plane had the stream no more, which failed the whole session."""
    session = Session(kit, fd=full)
    assert codes(session.said(frame)) == [ErrorCode.JOURNAL_FAILED, answer]
    assert session.streams.by_number == {}


def test_the_log_says_where_a_network_runs_and_why_not_on_a_gpu(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of `realtime` in C++, which takes less time on a CPU."""
    reason = "torch finds no GPU"
    monkeypatch.setattr("predecoder.inference.why_not_cuda", lambda: reason)
    monkeypatch.setattr("predecoder.inference.select_device", lambda _: torch.device("cpu"))
    opened = [
        {name: fields[name] for name in ("device", "why_no_gpu") if name in fields}
        for network in (None, "realtime", "accurate")
        for event, fields in Session(kit, device="auto", predecoder=network).events
        if event == "stream opened"
    ]
    assert opened == [{}, {"device": "cpu"}, {"device": "cpu", "why_no_gpu": reason}]
