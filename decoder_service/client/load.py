"""Open-loop load: rounds are sent when they are due, however the service does, and latency counts from then.

A generator that waits for answers before it sends hides every stall behind fewer samples (coordinated
omission). Here the k-th round is due at k / rate; without credit for it, it waits, and its wait counts.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator

from hdrh.histogram import HdrHistogram

from decoder_service.client.client import DecoderClient
from decoder_service.client.stream import ClientStream

HIGHEST_NS = 60_000_000_000
DIGITS = 3
_SPIN_NS = 50_000
"""Closer than this to the next due time the loop does not sleep: sleeping is not that exact."""


@dataclasses.dataclass
class LoadReport:
    """What a run measured; times in ns.

    Attributes:
        commit: from the due time of the round that allowed a COMMIT to its arrival here.
        result: the same for RESULTs.
        service: of the service alone, from a round's arrival there to the end of decoding.
        rounds, outputs: sent and received.
        late: rounds that had no credit when they were due.
        overloaded: the run ended because rounds waited longer than `max_lag`.
        seconds: from the first due time to the last output.
    """

    commit: HdrHistogram
    result: HdrHistogram
    service: HdrHistogram
    rounds: int = 0
    outputs: int = 0
    degraded: int = 0
    late: int = 0
    overloaded: bool = False
    seconds: float = 0.0


class _StreamLoad:
    """One stream's rows and the due times of those in flight."""

    def __init__(self, stream: ClientStream, rows: Iterator[bytes]) -> None:
        self.stream = stream
        self.rows = rows
        self.due: deque[tuple[int, int, int]] = deque()
        """(epoch, sequence, due) of rounds whose output may still come, oldest first."""

    def due_of(self, epoch: int, sequence: int) -> int:
        """When the round that allowed an output was due."""
        while self.due and self.due[0][:2] < (epoch, sequence):
            self.due.popleft()
        return self.due[0][2]


def run_load(
    client: DecoderClient,
    streams: list[tuple[ClientStream, Iterator[bytes]]],
    *,
    rounds: int,
    rate: float,
    max_lag: float = 1.0,
    warmup: int = 0,
) -> LoadReport:
    """Streams rows at a fixed rate and takes what comes back.

    Args:
        client: connected.
        streams: open streams, each with its rows in order, FINALs included; rows are sent in rotation.
        rounds: rows of each stream; a row that is not FINAL is a round.
        rate: rows a second, of each stream.
        max_lag: seconds that a round may be overdue before the run ends as overloaded.
        warmup: outputs that are not recorded, of all streams together.
    """
    if rate <= 0 or rounds < 1:
        raise ValueError(f"{rate=} and {rounds=} must be positive")
    report = LoadReport(*(HdrHistogram(1, HIGHEST_NS, DIGITS) for _ in range(3)))
    loads = [_StreamLoad(stream, rows) for stream, rows in streams]
    period = 1e9 / (rate * len(loads))
    total = rounds * len(loads)
    start = time.monotonic_ns()
    sent = 0
    while sent < total:
        due = start + round(sent * period)
        now = time.monotonic_ns()
        if now < due:
            client.poll(0 if due - now < _SPIN_NS else (due - now - _SPIN_NS) / 1e9)
            _collect(loads, report, warmup)
            continue
        load = loads[sent % len(loads)]
        if load.stream.credit <= 0:
            report.late += 1
            report.overloaded = not _await_credit(client, loads, load, due, max_lag, report, warmup)
            if report.overloaded:
                break
        frame = load.stream.data(next(load.rows))
        load.due.append((frame.epoch, frame.sequence, due))
        client.send(frame)
        sent += 1
    report.rounds = sent
    _drain(client, loads, report, warmup)
    report.seconds = (time.monotonic_ns() - start) / 1e9
    return report


def _await_credit(
    client: DecoderClient,
    loads: list[_StreamLoad],
    load: _StreamLoad,
    due: int,
    max_lag: float,
    report: LoadReport,
    warmup: int,
) -> bool:
    while load.stream.credit <= 0:
        if time.monotonic_ns() - due > max_lag * 1e9:
            return False
        client.poll(0.001)
        _collect(loads, report, warmup)
    return True


def _drain(client: DecoderClient, loads: list[_StreamLoad], report: LoadReport, warmup: int) -> None:
    for load in loads:
        client.sync(load.stream)
    while any(load.stream.in_flight for load in loads):
        if not client.poll(client.resend_after):
            for load in loads:
                client.sync(load.stream)
        _collect(loads, report, warmup)
    _collect(loads, report, warmup)


def _collect(loads: list[_StreamLoad], report: LoadReport, warmup: int) -> None:
    now = time.monotonic_ns()
    for load in loads:
        while load.stream.outputs:
            output = load.stream.outputs.popleft()
            report.outputs += 1
            report.degraded += bool(output.flags)
            due = load.due_of(output.epoch, output.commit.after)
            if report.outputs > warmup:
                histogram = report.result if output.final else report.commit
                histogram.record_value(max(1, min(now - due, HIGHEST_NS)))
                spent = output.commit.time_out - output.commit.time_in
                report.service.record_value(max(1, min(spent, HIGHEST_NS)))
