"""The state of a worker, for the front end's metrics and status page."""

from __future__ import annotations

import os
from collections.abc import Collection

from decoder_service.server.client_session import ClientSession
from decoder_service.server.metrics import STAGES, Snapshot, StreamGauge, WorkerMetrics

_PAGE = os.sysconf("SC_PAGE_SIZE")


def gauges(sessions: Collection[ClientSession]) -> list[StreamGauge]:
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
        for session in sessions
        for number, server_stream in session.streams.items()
    ]


def snapshot(
    metrics: WorkerMetrics,
    sessions: Collection[ClientSession],
    *,
    busy: float,
    builds: int,
    connections: int,
) -> Snapshot:
    """Totals as of now, without the streams.

    Args:
        metrics: of the worker, with the streams that are closed.
        sessions: of the worker.
        busy: share of the time since the last snapshot that was not spent waiting.
        builds: models, and parts of models, that are being built or wait for it.
        connections: open now.
    """
    live = [server_stream for session in sessions for server_stream in session.streams.values()]
    return Snapshot(
        pid=os.getpid(),
        busy=busy,
        resident_bytes=_resident(),
        builds=builds,
        connections=connections,
        sessions=len(sessions),
        counters=metrics.totals([server_stream.session.stats for server_stream in live]),
        wire_faults=metrics.wire_faults,
        buckets=metrics.buckets,
        sums_us={stage: metrics.sums_ns[stage] / 1000 for stage in STAGES},
    )


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE
