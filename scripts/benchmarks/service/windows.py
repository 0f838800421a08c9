"""The first windows after READY and after RELOAD, and what streams of one worker do to each other.

    python -m scripts.benchmarks.service.windows [--distance 5] [--repeats 30] [--slow-distance 9]

Rounds are sent one at a time. Prints the time to a COMMIT of the first window after OPENED and of the
first after RELOAD took over, each over `--repeats` streams or models, against the p99 of those at which
nothing is built; the times while graphs for erased rounds, or another model, are built beside decoding;
and the time to a COMMIT of a d = 3 stream alone and beside one of `--slow-distance` on the same worker
that always has work, against a window of that one. Give the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time

import numpy as np

from decoder_service import ClientStream, DecoderClient
from decoder_service.protocol import Frame, FrameType, Reload, encode_message
from scripts.benchmarks.service.kit import memory, packed_rows, server, wait_until_built

SHOTS = 200
ROUNDS = 39


class Paced:
    """A stream whose rounds are sent one at a time."""

    def __init__(self, client: DecoderClient, stream: ClientStream, rows: list[bytes]) -> None:
        self.client, self.stream = client, stream
        self._rows = itertools.cycle(rows)

    def next_commit(self) -> float:
        """Sends rounds until there is a COMMIT or RESULT; µs from sending the round that led to it."""
        stream = self.stream
        stream.outputs.clear()
        while True:
            before = stream.received
            start = time.perf_counter()
            self.client.push(stream, next(self._rows))
            self.client.sync(stream)
            if stream.received > before:
                return 1e6 * (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--distance", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--slow-distance", type=int, default=9)
    flags = parser.parse_args()
    first_windows(flags.distance, flags.repeats)
    neighbours(flags.slow_distance)


def first_windows(distance: int, repeats: int) -> None:
    """After READY and after RELOAD."""
    circuit = memory(distance, ROUNDS, 0.003)
    models = [
        str(memory(distance, ROUNDS, p).detector_error_model(decompose_errors=True))
        for p in (0.0028, 0.003, 0.0032)
    ]
    ready: list[float] = []
    reloaded: list[float] = []
    building: list[float] = []
    completing: list[float] = []
    steady: list[float] = []
    with server() as running, running.client(timeout=120) as client:
        for repeat in range(repeats):
            stream = client.open(str(circuit), commit=distance, buffer=distance)
            rows = packed_rows(circuit.compile_sampler(seed=repeat).sample(SHOTS), stream.shape)
            paced = Paced(client, stream, list(itertools.chain.from_iterable(rows)))
            ready.append(paced.next_commit())
            completing += [paced.next_commit() for _ in range(20)]
            wait_until_built(running)
            steady += [paced.next_commit() for _ in range(60)]
            reload = Reload(client.upload(models[repeat % 3]))
            client.send(Frame(FrameType.RELOAD, stream.number, payload=encode_message(reload)))
            while not stream.reloaded:
                if stream.errors:
                    raise stream.errors[-1]
                building.append(paced.next_commit())
            reloaded.append(paced.next_commit())
            steady += [paced.next_commit() for _ in range(60)]
            client.close_stream(stream)
    p50, p99 = np.percentile(steady, (50, 99))
    print(f"d={distance}: time to a COMMIT, µs: steady p50 {p50:.0f}, p99 {p99:.0f} ({len(steady)} windows)")
    for name, times in (("READY", ready), ("RELOAD", reloaded)):
        print(
            f"  first after {name}: median {np.median(times):.0f}, longest {max(times):.0f} of {len(times)}: "
            f"{np.median(times) / p99:.2f} and {max(times) / p99:.2f} of the p99"
        )
    for name, times in (("for erased rounds after READY", completing), ("of another model", building)):
        print(
            f"  while graphs {name} are built: p50 {np.median(times):.0f}, "
            f"p99 {np.percentile(times, 99):.0f}, longest {max(times):.0f} ({len(times)} windows)"
        )


def neighbours(distance: int) -> None:
    """A fast stream alone, and beside a slow one that always has work."""
    slow_circuit, fast_circuit = memory(distance, ROUNDS, 0.005), memory(3, ROUNDS, 0.003)
    with server() as running, running.client(timeout=600) as other, running.client() as client:
        stream = client.open(str(fast_circuit), commit=3, buffer=3)
        rows = packed_rows(fast_circuit.compile_sampler(seed=1).sample(SHOTS), stream.shape)
        fast = Paced(client, stream, list(itertools.chain.from_iterable(rows)))
        slow = other.open(str(slow_circuit), commit=distance, buffer=distance)
        packed = packed_rows(slow_circuit.compile_sampler(seed=1).sample(SHOTS), slow.shape)
        slow_rows = list(itertools.chain.from_iterable(packed))
        windows = Paced(other, slow, slow_rows)
        alone_slow = [windows.next_commit() for _ in range(200)]
        alone = [fast.next_commit() for _ in range(1000)]
        stop = threading.Event()
        flood = threading.Thread(target=_flood, args=(other, slow, slow_rows, stop))
        flood.start()
        beside = [fast.next_commit() for _ in range(1000)]
        stop.set()
        flood.join()
    a50, a99 = np.percentile(alone, (50, 99))
    b50, b99 = np.percentile(beside, (50, 99))
    s50, s99 = np.percentile(alone_slow, (50, 99))
    print(
        f"d=3, µs to a COMMIT: alone p50 {a50:.0f}, p99 {a99:.0f}; beside a d={distance} stream that "
        f"always has work p50 {b50:.0f}, p99 {b99:.0f}; a window of that one: p50 {s50:.0f}, p99 {s99:.0f}"
    )


def _flood(client: DecoderClient, stream: ClientStream, rows: list[bytes], stop: threading.Event) -> None:
    client.reset(stream)
    client.sync(stream)
    endless = itertools.cycle(rows)
    while not stop.is_set():
        client.push(stream, next(endless))
        stream.outputs.clear()
    client.sync(stream)


if __name__ == "__main__":
    main()
