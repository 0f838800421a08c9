"""A session's streams without a front end: what is built beside them, and a client that does not read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from decoder_service.protocol import Frame, FrameType, Open, Reload, encode_message
from decoder_service.server.client_session import ClientSession
from decoder_service.server.config import WorkerConfig
from decoder_service.server.decoding import build_decoder
from decoder_service.server.event_loop import EventLoop
from decoder_service.server.metrics import WorkerMetrics
from decoder_service.server.models import ModelStore, UploadBudget
from decoder_service.server.scheduler import Scheduler
from decoder_service.server.services import Services
from decoder_service.server.session_registry import SessionRegistry
from decoder_service.server.state import StateFolder

Done = Callable[[Any, BaseException | None], None]


class Bench:
    """A session whose slow work is done when `run` is called, one job at a time."""

    def __init__(self, state: Path, text: str, options: dict[str, Any]) -> None:
        self.jobs: deque[tuple[Callable[[], Any], Done]] = deque()
        config = WorkerConfig(state=str(state))
        self.models = ModelStore(StateFolder(state), max_bytes=1 << 20, max_models=8)
        os.close(StateFolder(state).lock())
        services = Services(
            config=config,
            models=self.models,
            uploads=UploadBudget(max_bytes=1 << 20),
            build=build_decoder,
            later=lambda job, done: self.jobs.append((job, done)),
            opened=lambda session, server_stream: None,
            closed=lambda session, server_stream: None,
            event=lambda event, **fields: None,
        )
        self.session = ClientSession("0" * 32, services)
        self.event_loop = EventLoop(output_bytes=1 << 20, busy_poll=0, lost=lambda connection: None)
        self.scheduler = Scheduler(
            config,
            self.event_loop,
            WorkerMetrics(),
            cast(SessionRegistry, SimpleNamespace()),  # asked only where a journal fails
            event=lambda event, **fields: None,
        )
        digest = self.models.put(text.encode())
        self.tell(FrameType.OPEN, encode_message(Open(model=digest, **options)))
        self.run()

    def tell(self, kind: FrameType, payload: bytes) -> list[Frame]:
        """The answers to a frame of stream 0."""
        return self.session.handle(Frame(kind, 0, payload=payload), 0)

    def run(self) -> None:
        """The next job and what follows it."""
        job, done = self.jobs.popleft()
        try:
            result = job()
        except ValueError as error:
            done(None, error)
        else:
            done(result, None)


@pytest.fixture
def bench(tmp_path: Path, kit) -> Bench:
    return Bench(tmp_path, kit.text, kit.options)


def test_a_reload_of_a_stream_that_ended_meanwhile_comes_to_nothing(bench: Bench) -> None:
    """Its number may be that of another stream, which would be told of it."""
    bench.run()
    server_stream = bench.session.streams[0]
    bench.tell(FrameType.RELOAD, encode_message(Reload("f" * 64)))  # is not stored
    bench.session.close_stream(server_stream, over=True)
    bench.session.outbox.clear()
    while bench.jobs:
        bench.run()
    assert bench.session.outbox == []
    assert server_stream.prepared is None


@pytest.mark.parametrize("completed", [3, None])
def test_a_reload_swaps_before_the_graphs_of_erased_rounds_are_built(
    bench: Bench, kit, monkeypatch, completed: int | None
) -> None:
    """They follow, however many of the old model's were built by then, and one at a time."""
    server_stream = bench.session.streams[0]
    for _ in range(completed if completed is not None else 10**9):
        if not bench.jobs:
            break
        bench.run()
    other = kit.other.detector_error_model(decompose_errors=True)
    bench.tell(FrameType.RELOAD, encode_message(Reload(bench.models.put(str(other).encode()))))
    while server_stream.prepared is None:
        bench.run()
    assert len(bench.jobs) == 1
    _, model = server_stream.prepared
    windows = len(model.graphs)
    assert windows == len({id(graph) for graph in model.graphs.by_key.values()})
    assert [frame.type for frame in server_stream.work(10**9)] == [FrameType.RELOAD]
    while bench.jobs:
        bench.run()
        assert len(bench.jobs) <= 1
    assert len(model.graphs) > windows + 5
