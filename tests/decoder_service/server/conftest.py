"""A running server per module, an experiment, and what decoding it in this process gives."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stim

from decoder_service.building import build_decoder
from decoder_service.client import DecoderClient, DisconnectedError, ServiceError, StreamOutput
from decoder_service.protocol import Flag, Open
from decoder_service.server import ServerConfig, ServerFrontEnd, WorkerConfig
from decoder_service.session import Outcome, StreamShape

from .journal_bench import Bench

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_x",
    distance=3,
    rounds=7,
    after_clifford_depolarization=0.01,
    before_measure_flip_probability=0.01,
)
OTHER = stim.Circuit.generated(
    "surface_code:rotated_memory_x", distance=3, rounds=7, after_clifford_depolarization=0.002
)
OPTIONS = {"commit": 2, "buffer": 2}
SURE = {"decoder": "pymatching-correlated", "gap": True}
"""Options of streams whose results have gaps."""
Summary = tuple[int, bool, int, bytes, bytes, int, float | None]


class RunningServer:
    """A server front end in a thread of this process; its workers are processes as always."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._failure: BaseException | None = None
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with ServerFrontEnd(self.config) as self.front_end:
                self._started.set()
                await self._stop.wait()
        except (OSError, ValueError, RuntimeError) as error:
            self._failure = error
            self._started.set()

    def stop(self) -> None:
        """Drains and ends."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def pids(self) -> list[int]:
        """Of the workers that serve."""
        return self.front_end.supervisor.pids

    @property
    def address(self) -> Path:
        assert self.config.unix is not None
        return self.config.unix

    def client(self, **options: Any) -> DecoderClient:
        """A client of this server."""
        return DecoderClient(self.address, **options)


def rows(measurements: np.ndarray, shape: StreamShape) -> list[bytes]:
    """A shot's bits as packed rows, one a round, then FINAL's."""
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    return [np.packbits(measurements[a:b], bitorder="little").tobytes() for a, b in itertools.pairwise(edges)]


def in_process(
    shots: np.ndarray, *, text: str = str(CIRCUIT), erased: Collection[tuple[int, int]] = (), **options: Any
) -> list[Summary]:
    """What a decoder in this process commits; `erased` are (shot, round) that are lost."""
    given: dict[str, Any] = OPTIONS | options
    decoder = build_decoder(Open(model="0" * 64, **given), text)
    found: list[Summary] = []
    for epoch, shot in enumerate(shots):
        decoder.open(epoch)
        *rounds, final = rows(shot, decoder.shape)
        for sequence, row in enumerate(rounds):
            outcomes = decoder.push(sequence, row, (epoch, sequence) in erased, 0)
            found += [_summary(epoch, False, outcome) for outcome in outcomes]
        *outcomes, result = decoder.finish(final, 0)
        found += [_summary(epoch, False, outcome) for outcome in outcomes]
        found.append(_summary(epoch, True, result))
    return found


def _summary(epoch: int, final: bool, outcome: Outcome) -> Summary:
    gap = None if outcome.gap is None else float(np.float32(outcome.gap))
    return (epoch, final, outcome.upto_round, outcome.frame_bits, outcome.readout, outcome.flags, gap)


def summaries(outputs: list[StreamOutput], *, flags: bool = True) -> list[Summary]:
    """Outputs of the service in the same form."""
    return [
        (
            out.epoch,
            out.final,
            out.commit.upto_round,
            out.commit.frame_bits,
            out.commit.readout,
            int(out.flags) if flags else 0,
            out.commit.gap,
        )
        for out in outputs
    ]


def sample(shots: int, *, seed: int, circuit: stim.Circuit = CIRCUIT) -> np.ndarray:
    """uint8 0/1 (shots, measurements)."""
    return circuit.compile_sampler(seed=seed).sample(shots).astype(np.uint8)


def push_all(client: DecoderClient, stream: Any, shots: np.ndarray) -> None:
    """Streams shots and waits for the result of each."""
    for shot in shots:
        end_shot(client, stream, rows(shot, stream.shape))


def begin_shot(client: DecoderClient, stream: Any, shot: np.ndarray) -> list[bytes]:
    """Pushes four rounds and waits until the server has them; returns the rows that are left."""
    shot_rows = rows(shot, stream.shape)
    for row in shot_rows[:4]:
        client.push(stream, row)
    client.sync(stream)
    return shot_rows[4:]


def end_shot(client: DecoderClient, stream: Any, left: list[bytes]) -> None:
    """Pushes the rows that are left of a shot and waits for its result."""
    *rounds, final = left
    for row in rounds:
        client.push(stream, row)
    client.finish(stream, final)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def come_back(client: DecoderClient) -> None:
    """Reconnects as soon as the server takes the session up again. Raises what is said of a stream."""
    for _ in range(400):
        try:
            client.reconnect()
        except (DisconnectedError, ServiceError) as error:
            if getattr(error, "scope", "") == "stream":
                raise
            time.sleep(0.05)
            continue
        return
    raise AssertionError("the session did not come back")


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions of this file; test modules cannot import one another."""
    return SimpleNamespace(
        rows=rows,
        in_process=in_process,
        summaries=summaries,
        sample=sample,
        push_all=push_all,
        begin_shot=begin_shot,
        end_shot=end_shot,
        wait_for=wait_for,
        come_back=come_back,
        text=str(CIRCUIT),
        circuit=CIRCUIT,
        other=OTHER,
        options=OPTIONS,
        sure=SURE,
        Flag=Flag,
    )


@pytest.fixture
def bench(tmp_path: Path, kit) -> Bench:
    """Sessions with journals, without a worker or a connection."""
    return Bench(tmp_path, kit)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers; those with equal settings are one. All end with the module."""
    running: dict[str, RunningServer] = {}

    def start(*, worker: dict[str, Any] | None = None, fresh: str = "", **settings: Any) -> RunningServer:
        key = repr((worker, settings, fresh))
        if key not in running:
            folder = tmp_path_factory.mktemp("serve")
            given: dict[str, Any] = {"prune": False} | (worker or {})
            config = WorkerConfig(state=str(folder / "state"), **given)
            settings = {"unix": folder / "service.sock"} | settings
            running[key] = RunningServer(ServerConfig(worker=config, **settings))
        return running[key]

    yield start
    for server in running.values():
        server.stop()
