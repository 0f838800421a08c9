"""What a worker counts: cheap on the hot path, sent to the front end once a second."""

from __future__ import annotations

import bisect

import msgspec

from decoder_service.protocol import Stats
from decoder_service.server.density import Density

STAGES = ("queue", "decode", "total")
"""From arrival to the decoder, in the decoder, and both."""
BOUNDS_US = (
    2,
    5,
    10,
    20,
    30,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    750,
    1000,
    2000,
    5000,
    10_000,
    100_000,
    1_000_000,
)
"""Upper bounds of the latency buckets, in µs; one more bucket has no bound."""
_BOUNDS_NS = [bound * 1000 for bound in BOUNDS_US]
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


class StreamGauge(msgspec.Struct):
    """A stream as it is now."""

    session: str
    stream: int
    model_id: str
    model_age: float
    in_flight: int
    window: int
    connected: bool
    density: Density


class Snapshot(msgspec.Struct):
    """Totals since the worker started, and gauges."""

    pid: int
    busy: float
    """Share of the last interval spent outside of waiting."""
    resident_bytes: int
    builds: int
    connections: int
    sessions: int
    counters: dict[str, int]
    wire_faults: dict[str, int]
    buckets: dict[str, list[int]]
    sums_us: dict[str, float]
    streams: list[StreamGauge] = []
    """Sent one by one: a message has a limit, their number does not."""


class WorkerMetrics:
    """Counters and latency histograms of one worker."""

    def __init__(self) -> None:
        self.wire_faults: dict[str, int] = {}
        self.buckets = {stage: [0] * (len(BOUNDS_US) + 1) for stage in STAGES}
        self.sums_ns = dict.fromkeys(STAGES, 0)
        self._closed = dict.fromkeys(COUNTERS, 0)

    def observe(self, latencies: list[tuple[int, int, int]]) -> None:
        """Takes (arrived, taken, decoded) times in ns and clears the list."""
        queue, decode, total = (self.buckets[stage] for stage in STAGES)
        for arrived, taken, decoded in latencies:
            queue[bisect.bisect_left(_BOUNDS_NS, taken - arrived)] += 1
            decode[bisect.bisect_left(_BOUNDS_NS, decoded - taken)] += 1
            total[bisect.bisect_left(_BOUNDS_NS, decoded - arrived)] += 1
            self.sums_ns["queue"] += taken - arrived
            self.sums_ns["decode"] += decoded - taken
            self.sums_ns["total"] += decoded - arrived
        latencies.clear()

    def fault(self, kind: str) -> None:
        """Counts damage on the wire."""
        self.wire_faults[kind] = self.wire_faults.get(kind, 0) + 1

    def closed(self, stats: Stats) -> None:
        """Keeps the totals of a stream that is over."""
        for name in COUNTERS:
            self._closed[name] += getattr(stats, name)

    def totals(self, live: list[Stats]) -> dict[str, int]:
        """Counters over all streams, over and open."""
        return {name: self._closed[name] + sum(getattr(stats, name) for stats in live) for name in COUNTERS}
