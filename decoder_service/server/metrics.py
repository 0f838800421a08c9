"""What a worker counts, for Prometheus, and the state of its streams, for the status page.

Counters and the histogram are kept by prometheus-client's multiprocess mode in files of the folder that the
environment variable PROMETHEUS_MULTIPROC_DIR of the process names (`processes` sets it). What has a value
only now, and may go away, is written to a file of the worker once a second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from decoder_service.protocol import FaultKind
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
