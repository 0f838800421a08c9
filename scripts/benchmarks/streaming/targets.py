"""What is measured: streams, decoded in this process or by `qecpipe serve` in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import stim

from decoder_service.client import ClientStream, DecoderClient
from decoder_service.load import (
    LoadPlan,
    LoadReport,
    ShotSet,
    StreamOptions,
    run_in_process,
    run_service,
    sample_shots,
)
from decoder_service.streaming import StreamDecoder
from qec import depolarizing, memory_circuit

Where = Literal["in process", "service"]
CORES = sorted(os.sched_getaffinity(0))
ALONE = len(CORES) > 1 and os.geteuid() == 0
"""Whether load and decoder have a core each, and real-time priority."""
_OURS, _THEIRS = (CORES[0], CORES[-1]) if ALONE else (None, None)
_BUSY_POLL = "5000"
"""Microseconds: more than from one block to the next, so that the worker, which has its core, never waits to
be woken. Of real-time priority it rests by itself."""
_SERVE = "import sys; from sims.cli import main; sys.exit(main(['serve', *sys.argv[1:]]))"
_OPEN_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A row of the table: sliding windows that commit and look ahead as many rounds as the distance.

    Attributes:
        name: in the table.
        distance: of the code.
        stream: its decoder and network; windows are as large as the distance whatever it says.
        must_us, goal_us: required and hoped-for period, where there is one.
        must_latency_us, goal_latency_us: p50 and p99 at it.
    """

    name: str
    distance: int
    stream: StreamOptions
    must_us: float
    goal_us: float
    must_latency_us: tuple[float, float] | None = None
    goal_latency_us: tuple[float, float] | None = None

    @property
    def options(self) -> StreamOptions:
        """Of its streams."""
        return replace(self.stream, commit=self.distance, buffer=self.distance)

    def circuit(self, *, rounds: int, p: float) -> stim.Circuit:
        """A memory experiment of so many rounds before the final one."""
        return memory_circuit(distance=self.distance, rounds=rounds, basis="x", noise=depolarizing(p))


def setups(weights: str) -> list[Setup]:
    """All rows that have a period; `weights` are those of `neural-matching`."""
    network = f"`neural-matching`, `{weights}`"
    neural = StreamOptions(commit=1, buffer=1, decoder="neural-matching", predecoder=weights)
    plain = StreamOptions(commit=1, buffer=1)
    correlated = StreamOptions(commit=1, buffer=1, decoder="pymatching-correlated")
    return [
        Setup(
            name="d = 5, PyMatching's LER",
            distance=5,
            stream=plain,
            must_us=4,
            goal_us=1.1,
            must_latency_us=(100, 400),
            goal_latency_us=(63, 200),
        ),
        Setup(name="d = 5, correlated", distance=5, stream=correlated, must_us=8, goal_us=2),
        Setup(name="d = 13, PyMatching's LER", distance=13, stream=plain, must_us=20, goal_us=5),
        Setup(name=f"d = 5, {network}", distance=5, stream=neural, must_us=20, goal_us=3),
        Setup(name=f"d = 13, {network}", distance=13, stream=neural, must_us=100, goal_us=20),
    ]


class Target(Protocol):
    """Something that decodes streams."""

    shots: ShotSet

    def run(self, *, period_us: float, rounds: int, rounds_per_block: int) -> LoadReport:
        """An open-loop load of at least so many rounds of each stream, in whole shots."""
        ...


@dataclass(eq=False)
class InProcess:
    """Decoders in this process."""

    decoders: list[StreamDecoder]
    shots: ShotSet

    def run(self, *, period_us: float, rounds: int, rounds_per_block: int) -> LoadReport:
        plan = _plan(self.shots, period_us, rounds, rounds_per_block, streams=len(self.decoders))
        return run_in_process(self.decoders, self.shots, plan=plan)


@dataclass(eq=False)
class Served:
    """Streams of a service; the load is this process."""

    client: DecoderClient
    streams: list[ClientStream]
    shots: ShotSet
    realtime: bool = ALONE

    def run(self, *, period_us: float, rounds: int, rounds_per_block: int) -> LoadReport:
        plan = _plan(self.shots, period_us, rounds, rounds_per_block, streams=len(self.streams))
        return run_service(
            self.client, self.streams, self.shots, plan=plan, core=_OURS, realtime=self.realtime
        )


def sampled(setup: Setup, *, shot_rows: int, p: float, rows: int) -> tuple[stim.Circuit, ShotSet]:
    """The experiment, and shots of it with what must be decoded of them."""
    circuit = setup.circuit(rounds=shot_rows - 1, p=p)
    return circuit, sample_shots(circuit, setup.options, rows=rows, seed=20)


def in_process(setup: Setup, circuit: stim.Circuit, shots: ShotSet) -> InProcess:
    """A warm decoder of the setup."""
    decoder = setup.options.build(circuit)
    decoder.warm(rounds=shots.shape.rounds)
    return InProcess([decoder], shots)


@contextlib.contextmanager
def served(
    setup: Setup,
    circuit: stim.Circuit,
    shots: ShotSet,
    *,
    address: Path,
    streams: int = 1,
    realtime: bool = ALONE,
) -> Iterator[Served]:
    """Streams of a running service on a connection of their own; the load's priority is real-time or not."""
    with DecoderClient(address, timeout=_OPEN_S) as client:
        opened = [
            client.open(str(circuit), **setup.options.fields, rounds=shots.shape.rounds)
            for _ in range(streams)
        ]
        yield Served(client, opened, shots, realtime)


@contextlib.contextmanager
def service(*flags: str, realtime: bool = ALONE) -> Iterator[Path]:
    """Runs `qecpipe serve` with one worker, on a core of its own; gives the path of its Unix socket.

    Not of real-time priority, it never sleeps while rounds come.
    """
    with tempfile.TemporaryDirectory(prefix="qecpipe-") as folder:
        path = Path(folder) / "s"
        command = [
            sys.executable,
            "-c",
            _SERVE,
            "--socket",
            str(path),
            "--http",
            "None",
            *(["--cores", str(_THEIRS)] if ALONE else []),
            *(["--realtime", "--busy-poll", _BUSY_POLL] if realtime else []),
            *flags,
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            lines: list[str] = []
            try:
                for line in server.stderr:
                    lines.append(line)
                    if line.startswith("{") and json.loads(line).get("event") == "ready":
                        break
                else:
                    raise RuntimeError(f"qecpipe serve ended: {''.join(lines).strip()}")
                yield path
            finally:
                server.terminate()
                server.stderr.close()
                server.wait()


def _plan(shots: ShotSet, period_us: float, rounds: int, rounds_per_block: int, *, streams: int) -> LoadPlan:
    return LoadPlan(
        period_ns=1000 * period_us,
        rows_per_shot=shots.rows_per_shot,
        shots=-(-rounds // shots.rows_per_shot),
        rounds_per_block=rounds_per_block,
        streams=streams,
    )
