"""What a worker counts, for Prometheus, and how its streams' rounds look, for the status page.

Counters and the histogram are kept by prometheus-client's multiprocess mode in files of the folder that the
environment variable PROMETHEUS_MULTIPROC_DIR of the process names (`processes` sets it).

Streams are sampled where they are decoded, and the samples worked out elsewhere: every microsecond of the
thread that decodes is one in which no round is. So the data plane counts, and the rest is for a thread in
which nobody waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, values

from _qecpipe import Session
from decoder_service.protocol import FaultKind
from decoder_service.server.control import StreamStatus

COUNTERS = (
    "rounds",
    "shots",
    "commits",
    "duplicates",
    "conflicts",
    "nacks",
    "erased",
    "failed",
    "late",
    "overloads",
)
STAGES = ("queue", "decode")
"""From a row's arrival to the decoder, and in the decoder."""
FIRST_BUCKET, LAST_BUCKET = 10, 30
"""Buckets of latencies end at these powers of two, in ns: about 1 µs to 1 s."""
COUNTER_BYTES = 1 << 16
"""Size of a file of counters, of prometheus-client's choice; all of ours fit into it."""
SAMPLED_ROUNDS = 100
"""Rounds whose bits a sample counts, at most."""
MEMORY = 0.9
"""What is left of the counts from one sample to the next: about ten are seen."""
BASELINE_ROUNDS = 1000
"""Counted rounds after which the densities so far become what later ones are compared with."""
SHOWN = 1024
"""Stabilizers that are reported one by one, at most."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def keep_counters(folder: Path, slot: int) -> None:
    """Has this process count in the files of its slot, on from where the worker before it ended.

    Room on the disk is taken before there are any counters: they are memory maps of sparse files, and one
    that needs room on a full disk is SIGBUS, for all sessions of a worker.

    Raises:
        OSError: there is no room.
    """
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: slot)
    for kind in ("counter", "histogram"):
        with (folder / f"{kind}_{slot}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, COUNTER_BYTES)


class WorkerMetrics:
    """Counters of one worker; any thread may count."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"qecpipe_{name}", f"Total of {name}.", registry=registry) for name in COUNTERS
        }
        self._faults = Counter(
            "qecpipe_wire_faults",
            "Damage on the wire; bad-crc are CRC failures.",
            labelnames=["kind"],
            registry=registry,
        )
        bounds = [2**k / 1e9 for k in range(FIRST_BUCKET, LAST_BUCKET + 1)]
        histogram = Histogram(
            "qecpipe_round_seconds",
            "Time of a row by stage.",
            labelnames=["stage"],
            buckets=bounds,
            registry=registry,
        )
        self._stages = {stage: histogram.labels(stage) for stage in STAGES}
        for kind in FaultKind:
            self._faults.labels(kind.value)

    def count(self, totals: Mapping[str, int], before: Mapping[str, int]) -> None:
        """Adds what a stream did since `before`."""
        for name, counter in self._counters.items():
            if new := totals[name] - before.get(name, 0):
                counter.inc(new)

    def observe(self, stage: str, total_ns: int, by_log2: Sequence[int]) -> None:
        """Adds rows to the histogram; `by_log2[k]` took less than 2^k ns, and not less than half of it."""
        histogram = self._stages[stage]
        histogram._sum.inc(total_ns / 1e9)  # a histogram has no public way to add many values
        for k, rows in enumerate(by_log2):
            if rows:
                bucket = min(max(k, FIRST_BUCKET), LAST_BUCKET + 1) - FIRST_BUCKET
                histogram._buckets[bucket].inc(rows)

    def fault(self, kind: str) -> None:
        """Counts damage on the wire."""
        self._faults.labels(kind).inc()


def resident_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE


class StreamSample(NamedTuple):
    """A stream at one time.

    Attributes:
        totals: since it was opened.
        latencies: since the last sample; as `Session.take_latencies` has them.
        ones: of the last rounds; as `Session.count_ones` has them.
        model_id, model_since: of the model, and `time.monotonic` when it took over.
        connected: its session has a connection.
    """

    totals: dict[str, int]
    latencies: tuple[int, int, int, Sequence[int], Sequence[int]]
    ones: tuple[int, np.ndarray]
    model_id: bytes
    model_since: float
    connected: bool


class StreamMeter:
    """What samples of one stream come to. `sample` is for the thread that decodes, `take` for another one.

    Args:
        number: of the stream.
        window: rows that it may have in flight.
        bits: of a round, in most of its rounds.
        compared: rounds are measurements, and a stabilizer fires where one differs from that of so many
            rounds before: 1, or 2 without reset. 0 of rounds that say themselves what fired.
    """

    def __init__(self, number: int, *, window: int, bits: int, compared: int) -> None:
        self._number, self._window = number, window
        self._bits, self._compared = bits, compared
        self._density = DensityMeter(bits)
        self._sampled = 0
        self._counted: dict[str, int] = {}

    def sample(self, plane: Session, *, model_id: bytes, model_since: float, connected: bool) -> StreamSample:
        """The stream as it is now."""
        totals = plane.stats(self._number)
        new, self._sampled = totals["rounds"] - self._sampled, totals["rounds"]
        most = min(new, SAMPLED_ROUNDS)
        ones = plane.count_ones(self._number, most=most, bits=self._bits, compared=self._compared)
        latencies = plane.take_latencies(self._number)
        return StreamSample(totals, latencies, ones, model_id, model_since, connected)

    def take(self, sample: StreamSample, metrics: WorkerMetrics, *, session: str) -> StreamStatus:
        """Adds a sample to the metrics, in the order in which they were taken; the stream as it was then."""
        totals = sample.totals
        metrics.count(totals, self._counted)
        self._counted = totals
        rows, waited, decoding, waited_log2, decoding_log2 = sample.latencies
        if rows:
            metrics.observe("queue", waited, waited_log2)
            metrics.observe("decode", decoding, decoding_log2)
        self._density.add(*sample.ones)
        density = self._density.take()
        return StreamStatus(
            session=session,
            stream=self._number,
            model_id=sample.model_id.hex(),
            model_age=time.monotonic() - sample.model_since,
            in_flight=totals["in_flight"],
            window=self._window,
            connected=sample.connected,
            density=density.each,
            mean=density.mean,
            baseline=density.baseline,
            drift=density.drift,
        )


class Samples:
    """Samples on their way from the sessions' threads to the one that works them out."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._waiting: deque[tuple[str, bool, list[tuple[StreamMeter, StreamSample]]]] = deque()
        self._statuses: dict[str, list[StreamStatus]] = {}
        self._working = threading.Lock()

    def add(self, session: str, samples: list[tuple[StreamMeter, StreamSample]]) -> None:
        """All streams of a session."""
        self._waiting.append((session, True, samples))

    def add_last(self, session: str, meter: StreamMeter, sample: StreamSample) -> None:
        """Of a stream that is closed."""
        self._waiting.append((session, False, [(meter, sample)]))

    def work_off(self, sessions: Collection[str]) -> list[StreamStatus]:
        """Adds what came to the metrics; all streams of these sessions, as they were last."""
        with self._working:
            while self._waiting:
                session, whole, samples = self._waiting.popleft()
                statuses = [meter.take(sample, self._metrics, session=session) for meter, sample in samples]
                if whole:
                    self._statuses[session] = statuses
            self._statuses = {name: found for name, found in self._statuses.items() if name in sessions}
            return [status for statuses in self._statuses.values() for status in statuses]


class Density(NamedTuple):
    """Shares of rounds in which stabilizers fired.

    Attributes:
        each: of every stabilizer, the first `SHOWN`; empty before any round.
        mean: of all stabilizers, lately.
        baseline: the same of the beginning of the stream; 0 while that is still being counted.
        drift: (mean - baseline) in standard errors; 0 without a baseline.
    """

    each: list[float]
    mean: float = 0.0
    baseline: float = 0.0
    drift: float = 0.0


class DensityMeter:
    """How often stabilizers fire, lately and at first.

    Args:
        bits: stabilizers.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._ones = np.zeros(bits)
        self._rounds = 0.0
        self._first: tuple[float, float] | None = None
        self._first_ones = self._first_rounds = 0

    def add(self, rounds: int, ones: np.ndarray) -> None:
        """Takes uint32 (bits,): in how many of so many rounds each fired."""
        if not self._bits:
            return
        self._ones += ones
        self._rounds += rounds
        if self._first is None:
            self._first_ones += int(ones.sum())
            self._first_rounds += rounds
            if self._first_rounds >= BASELINE_ROUNDS:
                mean = self._first_ones / (self._first_rounds * self._bits)
                self._first = (mean, self._variance(mean, self._first_rounds))

    def take(self) -> Density:
        """The densities of late; what was counted before fades."""
        if not self._rounds:
            return Density([])
        each = self._ones / self._rounds
        mean = float(each.mean())
        density = Density(each[:SHOWN].tolist(), mean)
        if self._first is not None:
            baseline, variance = self._first
            error = np.sqrt(variance + self._variance(mean, self._rounds)) or 1.0
            density = density._replace(baseline=baseline, drift=float((mean - baseline) / error))
        self._ones *= MEMORY
        self._rounds *= MEMORY
        return density

    def _variance(self, mean: float, rounds: float) -> float:
        """Of a mean density. Events come in pairs, hence the 2."""
        return 2 * mean * (1 - mean) / (rounds * self._bits)
