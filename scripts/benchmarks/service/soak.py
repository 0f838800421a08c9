"""A long stream: memory, numbering of the outputs and backlog.

    python -m scripts.benchmarks.service.soak [--rounds 1000000] [--distance 3] [--shot-rounds 999]

The client sends as fast as its credit allows. Prints the worker's resident memory as it goes, and at the end
its growth after the first tenth (and after as many outputs as a stream keeps), whether every output came once
and in order, and what is left in flight. Fewer than about 30,000 rounds say nothing about growth.
"""

from __future__ import annotations

import argparse
import sys
import time

from decoder_service import ClientStream
from decoder_service.session import KEPT_OUTPUTS
from scripts.benchmarks.service.kit import memory, packed_rows, resident, server

SAMPLES = 20
SHOTS = 20


def main() -> int:
    """Streams, prints, and fails if something was lost or doubled or memory grew by a hundredth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--distance", type=int, default=3)
    parser.add_argument("--shot-rounds", type=int, default=999)
    flags = parser.parse_args()
    circuit = memory(flags.distance, flags.shot_rounds, 0.003)
    shots = circuit.compile_sampler(seed=1).sample(SHOTS)
    with server() as running, running.client() as client:
        stream = client.open(str(circuit), commit=flags.distance, buffer=flags.distance)
        rows = [row for shot in packed_rows(shots, stream.shape) for row in shot]
        (pid,) = running.pids
        start = time.monotonic()
        seen, samples = Seen(), Samples(pid)
        count = flags.rounds + flags.rounds // flags.shot_rounds
        for sent in range(count):
            client.push(stream, rows[sent % len(rows)])
            seen.take(stream)
            if sent % max(1, count // SAMPLES) == 0:
                full = sent >= count // 10 and seen.outputs >= KEPT_OUTPUTS
                print(f"{sent} rows, {samples.take(full=full) / 1e6:.2f} MB", flush=True)
        while stream.in_flight:
            client.sync(stream)
        seen.take(stream)
        stats = client.stats(stream)
        samples.take(full=seen.outputs >= KEPT_OUTPUTS)
    rate = flags.rounds / (time.monotonic() - start)
    print(
        f"{stats.rounds} rounds, {stats.shots} shots at {rate:.0f} rounds a second; {seen.outputs} outputs "
        f"received, {stats.commits} made, {seen.wrong} out of place; {seen.finals} results; in flight "
        f"{stats.in_flight}; memory {samples.warm / 1e6:.2f} MB when all that is kept was there, "
        f"{samples.last / 1e6:.2f} MB at the end: {100 * samples.growth:+.2f} %"
    )
    lost = seen.outputs != stats.commits or seen.wrong > 0 or stats.in_flight > 0
    return int(lost or samples.growth >= 0.01)


class Seen:
    """Outputs, and how many of them are out of place: within a shot commits advance, and a RESULT ends it."""

    def __init__(self) -> None:
        self.outputs = self.finals = self.wrong = 0
        self._upto = 0

    def take(self, stream: ClientStream) -> None:
        """All that the stream has."""
        while stream.outputs:
            output = stream.outputs.popleft()
            early = not output.final and output.commit.upto_round <= self._upto
            self.wrong += output.epoch != self.finals or early
            self._upto = 0 if output.final else output.commit.upto_round
            self.finals += output.final
            self.outputs += 1


class Samples:
    """Resident memory of a process: `warm` once it is full of what it keeps, and the `last`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.warm = self.last = 0

    def take(self, *, full: bool) -> int:
        """Its memory now, in bytes."""
        self.last = resident(self._pid)
        if full and not self.warm:
            self.warm = self.last
        return self.last

    @property
    def growth(self) -> float:
        """A share of `warm`; 0 where it was never full."""
        return self.last / self.warm - 1 if self.warm else 0.0


if __name__ == "__main__":
    sys.exit(main())
