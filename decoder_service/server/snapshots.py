"""The state of a worker, for the front's metrics and status page."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from decoder_service.server.metrics import STAGES, Snapshot, StreamGauge

if TYPE_CHECKING:
    from decoder_service.server.worker import Worker

_PAGE = os.sysconf("SC_PAGE_SIZE")


def gauges(worker: Worker) -> list[StreamGauge]:
    """Each stream as of now; begins the next interval of the densities."""
    return [
        StreamGauge(
            session=session.name,
            stream=number,
            model_id=server_stream.session.model_id.hex(),
            model_age=server_stream.model_age(),
            in_flight=server_stream.session.ordering.in_flight,
            window=server_stream.session.ordering.config.window,
            connected=session.connection is not None,
            density=server_stream.density.take(),
        )
        for session in worker.sessions.values()
        for number, server_stream in session.streams.items()
    ]


def snapshot(worker: Worker) -> Snapshot:
    """Totals as of now, without the streams; begins the next interval of `busy`."""
    metrics = worker.metrics
    live = [
        server_stream for session in worker.sessions.values() for server_stream in session.streams.values()
    ]
    return Snapshot(
        pid=os.getpid(),
        busy=worker.take_busy(time.monotonic_ns()),
        resident_bytes=_resident(),
        builds=worker.builds,
        connections=len(worker.event_loop.connections),
        sessions=len(worker.sessions),
        counters=metrics.totals([server_stream.session.stats for server_stream in live]),
        wire_faults=metrics.wire_faults,
        buckets=metrics.buckets,
        sums_us={stage: metrics.sums_ns[stage] / 1000 for stage in STAGES},
    )


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE
