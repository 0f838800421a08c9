"""What the service's measurements share: a server in a thread, an experiment, decoding in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stim

from decoder_service import DecoderClient, ServerConfig, ServerFrontEnd, WorkerConfig
from decoder_service.client import ClientStream, StreamOutput, StreamShape
from decoder_service.session import RoundDecoder

Summary = tuple[int, bool, int, bytes, bytes, int]
"""(shot, is RESULT, upto_round, frame bits, readout, flags) of an output."""


class Running(NamedTuple):
    """A server that listens on a Unix socket."""

    front_end: ServerFrontEnd
    path: Path
    state: Path

    @property
    def pids(self) -> list[int]:
        """Of the workers that serve."""
        return self.front_end.supervisor.pids

    def client(self, **options: Any) -> DecoderClient:
        """A client of this server."""
        return DecoderClient(self.path, **options)


@contextlib.contextmanager
def server(*, state: Path | None = None, **settings: Any) -> Iterator[Running]:
    """Runs a server; settings of the worker are those of WorkerConfig, the others of ServerConfig."""
    names = WorkerConfig.__struct_fields__
    worker = {name: settings.pop(name) for name in list(settings) if name in names}
    with tempfile.TemporaryDirectory(prefix="qecpipe-") as folder:
        state = state or Path(folder) / "state"
        path = Path(folder) / "s"
        config = ServerConfig(worker=WorkerConfig(state=str(state), **worker), unix=path, **settings)
        loop = asyncio.new_event_loop()
        front_end = ServerFrontEnd(config)
        stop = asyncio.Event()
        started = threading.Event()

        async def main() -> None:
            async with front_end:
                started.set()
                await stop.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
        thread.start()
        started.wait()
        try:
            yield Running(front_end, path, state)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


def memory(distance: int, rounds: int, p: float) -> stim.Circuit:
    """A rotated-surface-code memory experiment in the X basis with depolarizing and measurement noise."""
    return stim.Circuit.generated(
        "surface_code:rotated_memory_x",
        distance=distance,
        rounds=rounds,
        after_clifford_depolarization=p,
        before_measure_flip_probability=p,
        after_reset_flip_probability=p,
    )


def wait_until_built(running: Running) -> None:
    """Returns once nothing is built any more."""
    deadline = time.monotonic() + 600
    while len(running.front_end.builds):
        if time.monotonic() > deadline:
            raise RuntimeError("the service is still building after 600 s")
        time.sleep(0.1)


def packed_rows(shots: np.ndarray, shape: StreamShape) -> list[list[bytes]]:
    """uint8 (shots, measurements) as packed rows, one list a shot, the last FINAL's."""
    edges = np.cumsum([0, *(shape.bits(sequence) for sequence in range(shape.rounds + 1))])
    columns = [np.packbits(shots[:, a:b], axis=1, bitorder="little") for a, b in itertools.pairwise(edges)]
    return [[column[shot].tobytes() for column in columns] for shot in range(len(shots))]


def in_process(
    decoder: RoundDecoder, shots: list[list[bytes]], *, erased: Collection[tuple[int, int]] = ()
) -> list[Summary]:
    """What the decoder commits here; `erased` are (shot, round) that are lost."""
    found: list[Summary] = []
    for epoch, (*rounds, final) in enumerate(shots):
        decoder.open(epoch)
        for sequence, row in enumerate(rounds):
            outcomes = decoder.push(sequence, row, (epoch, sequence) in erased, 0)
            found += [(epoch, False, o.upto_round, o.frame_bits, o.readout, o.flags) for o in outcomes]
        *outcomes, result = decoder.finish(final, 0)
        found += [(epoch, False, o.upto_round, o.frame_bits, o.readout, o.flags) for o in outcomes]
        found.append((epoch, True, result.upto_round, result.frame_bits, result.readout, result.flags))
    return found


def summary(output: StreamOutput) -> Summary:
    """An output of the service in the same form."""
    commit = output.commit
    return (
        output.epoch,
        output.final,
        commit.upto_round,
        commit.frame_bits,
        commit.readout,
        int(output.flags),
    )


def send_shots(client: DecoderClient, stream: ClientStream, shots: list[list[bytes]]) -> None:
    """Sends shots as fast as credit allows and waits for all their results; `outputs` has them."""
    target = stream.epoch + len(shots)
    for shot in shots:
        for row in shot:
            client.push(stream, row)
    while stream.in_flight and stream.epoch == target:
        client.sync(stream)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
