"""What a worker counts, for Prometheus, and the state of its streams, for the status page.

Of a stream that is how often each stabilizer fires, lately and at first, where a drift of the noise shows.

Counters and the histogram are kept by prometheus-client's multiprocess mode in files of the folder that the
environment variable PROMETHEUS_MULTIPROC_DIR of the process names (`processes` sets it). What has a value
only now, and may go away, is written to a file of the worker once a second.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram

from decoder_service.protocol import FaultKind, packed_bytes
from decoder_service.store import PART

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
EVERY = 11
"""One row in this many is counted, so that the hot path hardly sees it."""
MEMORY = 0.9
"""What is left of the counts from one `take` to the next: about ten intervals are seen."""
BASELINE_ROUNDS = 1000
"""Counted rounds after which the densities so far become what later ones are compared with."""
SHOWN = 1024
"""Stabilizers that are reported one by one, at most."""
COUNTER_BYTES = 1 << 16
"""Size of a file of counters, of prometheus-client's choice; all of ours fit into it."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class StreamStatus(msgspec.Struct):
    """A stream as it is now.

    `density` are shares of rounds in which each stabilizer fired, `mean` of all of them, `baseline` the same
    at the stream's beginning, `drift` their difference in standard errors.
    """

    session: str
    stream: int
    model_id: str
    model_age: float
    in_flight: int
    window: int
    connected: bool
    density: list[float]
    mean: float
    baseline: float
    drift: float


class WorkerStatus(msgspec.Struct):
    """A worker as it is now; `busy` is its share of a core since the last time."""

    pid: int
    busy: float
    resident_bytes: int
    sessions: int
    streams: list[StreamStatus]

    def write(self, folder: Path) -> None:
        """Replaces the worker's file."""
        path = folder / f"{self.pid}.json"
        part = path.with_suffix(PART)
        part.write_bytes(msgspec.json.encode(self))
        part.replace(path)

    @classmethod
    def read(cls, folder: Path, pid: int) -> WorkerStatus | None:
        """What a worker wrote last, None if nothing yet."""
        try:
            return msgspec.json.decode((folder / f"{pid}.json").read_bytes(), type=cls)
        except FileNotFoundError:
            return None


def reserve(folder: Path) -> None:
    """Takes room on the disk for the counters of this process, before there are any.

    They are memory maps of sparse files: one that needs room on a full disk is SIGBUS, for all sessions of a
    worker.

    Raises:
        OSError: there is no room.
    """
    for kind in ("counter", "histogram"):
        with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, COUNTER_BYTES)


class WorkerMetrics:
    """Counters of one worker; its sessions' threads may all count."""

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


class Density(NamedTuple):
    """Shares of rounds in which stabilizers fired.

    Attributes:
        each: uint16 little-endian per stabilizer, in units of 1/65535; empty before any round.
        mean: of all stabilizers, lately.
        baseline: the same of the beginning of the stream; 0 while that is still being counted.
        drift: (mean - baseline) in standard errors; 0 without a baseline.
    """

    each: bytes = b""
    mean: float = 0.0
    baseline: float = 0.0
    drift: float = 0.0


class DensityMeter:
    """Counts the ones of rows of one width.

    Args:
        bits: of a row.
        compared: rows are measurements, and a stabilizer fires where one differs from that of so many rounds
            before: 1, or 2 without reset. 0 of rows that say themselves what fired.
    """

    def __init__(self, bits: int, *, compared: int) -> None:
        self._bits = bits
        self._bytes = packed_bytes(bits)
        self._compared = compared
        self._ones = np.zeros(bits)
        self._rounds = 0.0
        self._first: tuple[float, float] | None = None
        self._first_ones = 0.0
        self._first_rounds = 0
        self._recent: deque[tuple[int, bytes] | None] = deque(maxlen=max(1, compared))
        """The last rounds and their bits, None for one that was erased."""
        self._seen = 0

    def count(self, sequence: int, row: bytes, *, erased: bool) -> None:
        """Takes every round of the stream, in order; the first of a shot is round 0."""
        before = self._recent[0] if self._recent else None
        self._recent.append(None if erased else (sequence, row))
        self._seen = (self._seen + 1) % EVERY
        if not self._seen and not erased:
            self._add(sequence, row, before)

    def sample(self, rows: Sequence[tuple[int, bytes, bool]]) -> None:
        """Takes (sequence, row, erased) of rounds in order, of a stream that they do not all come from."""
        for k, (sequence, row, erased) in enumerate(rows):
            earlier = rows[k - self._compared] if k >= self._compared else None
            if not erased:
                self._add(sequence, row, None if earlier is None or earlier[2] else earlier[:2])

    def _add(self, sequence: int, row: bytes, before: tuple[int, bytes] | None) -> None:
        if len(row) != self._bytes or not self._bits:
            return
        bits = np.frombuffer(row, np.uint8)
        if self._compared:
            if before is None or before[0] + self._compared != sequence or len(before[1]) != len(row):
                return
            bits = bits ^ np.frombuffer(before[1], np.uint8)
        ones = np.unpackbits(bits, count=self._bits, bitorder="little")
        self._ones += ones
        self._rounds += 1
        if self._first is None:
            self._first_ones += float(ones.sum())
            self._first_rounds += 1
            if self._first_rounds >= BASELINE_ROUNDS:
                mean = self._first_ones / (self._first_rounds * self._bits)
                self._first = (mean, self._variance(mean, self._first_rounds))

    def take(self) -> Density:
        """The densities of late; what was counted before fades."""
        if not self._rounds:
            return Density()
        each = self._ones / self._rounds
        mean = float(each.mean())
        density = Density((each[:SHOWN] * 65535).astype("<u2").tobytes(), mean)
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
