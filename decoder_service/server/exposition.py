"""Metrics of all workers, for Prometheus and for the status page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from decoder_service.server.metrics import BOUNDS_US, COUNTERS, STAGES, Snapshot
from decoder_service.server.supervisor import Supervisor

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


class Observed(Protocol):
    """What is told of a server: a `ServerFrontEnd` is one."""

    supervisor: Supervisor
    refused: int

    @property
    def connections(self) -> int:
        """Open now, those in their handshake included."""
        ...


def prometheus_text(front_end: Observed) -> bytes:
    """The page that a Prometheus server scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FrontEndCollector(front_end))
    return generate_latest(registry)


class _FrontEndCollector(Collector):
    """Reads the last report of each worker, at most about a second old."""

    def __init__(self, front_end: Observed) -> None:
        self._front_end = front_end

    def collect(self) -> Iterator[Metric]:
        snapshots = reports(self._front_end)
        for name in COUNTERS:
            family = CounterMetricFamily(f"qecpipe_{name}", f"Total of {name}.", labels=["worker"])
            for worker, snapshot in snapshots:
                family.add_metric([worker], snapshot.counters[name])
            yield family
        faults = CounterMetricFamily(
            "qecpipe_wire_faults", "Damage on the wire; bad-crc are CRC failures.", labels=["worker", "kind"]
        )
        latency = HistogramMetricFamily(
            "qecpipe_round_seconds", "Time of a round by stage.", labels=["worker", "stage"]
        )
        for worker, snapshot in snapshots:
            for kind, count in snapshot.wire_faults.items():
                faults.add_metric([worker, kind], count)
            for stage in STAGES:
                latency.add_metric(
                    [worker, stage],
                    buckets=_cumulative(snapshot.buckets[stage]),
                    sum_value=snapshot.sums_us[stage] / 1e6,
                )
        yield faults
        yield latency
        yield from _gauges(snapshots)
        restarts = CounterMetricFamily("qecpipe_worker_restarts", "Workers that died and were replaced.")
        restarts.add_metric([], self._front_end.supervisor.restarts)
        refused = CounterMetricFamily("qecpipe_refused_connections", "Connections without a good HELLO.")
        refused.add_metric([], self._front_end.refused)
        delay = GaugeMetricFamily(
            "qecpipe_worker_restart_delay_seconds", "Wait before a worker was started for the last that died."
        )
        delay.add_metric([], self._front_end.supervisor.restart_delay)
        yield restarts
        yield delay
        yield refused


def reports(front_end: Observed) -> list[tuple[str, Snapshot]]:
    """(slot, last report) of the workers that have sent one."""
    return [
        (str(slot), handle.snapshot)
        for slot, handle in enumerate(front_end.supervisor.workers)
        if handle.snapshot is not None
    ]


def status(front_end: Observed) -> dict[str, Any]:
    """What the status page shows, as JSON-ready values; latencies in µs."""
    snapshots = [snapshot for _, snapshot in reports(front_end)]
    return {
        "restarts": front_end.supervisor.restarts,
        "refused": front_end.refused,
        "connections": front_end.connections,
        "counters": {name: sum(s.counters[name] for s in snapshots) for name in COUNTERS},
        "latency_us": {
            stage: _percentiles(
                [sum(column) for column in zip(*(s.buckets[stage] for s in snapshots), strict=True)]
            )
            for stage in STAGES
        },
        "workers": [
            {"pid": s.pid, "busy": s.busy, "resident_bytes": s.resident_bytes, "sessions": s.sessions}
            for s in snapshots
        ],
        "streams": [
            {
                "name": f"{stream.session[:8]}/{stream.stream}",
                "model_id": stream.model_id,
                "model_age": stream.model_age,
                "in_flight": stream.in_flight,
                "window": stream.window,
                "connected": stream.connected,
                "density": [round(x / 65535, 5) for x in memoryview(stream.density.each).cast("H")],
                "mean": stream.density.mean,
                "baseline": stream.density.baseline,
                "drift": stream.density.drift,
            }
            for s in snapshots
            for stream in s.streams
        ],
    }


def _gauges(snapshots: list[tuple[str, Snapshot]]) -> Iterator[Metric]:
    busy = GaugeMetricFamily("qecpipe_worker_busy", "Share of time not spent waiting.", labels=["worker"])
    memory = GaugeMetricFamily("qecpipe_worker_resident_bytes", "Resident memory.", labels=["worker"])
    builds = GaugeMetricFamily("qecpipe_worker_builds", "Graphs being built.", labels=["worker"])
    labels = ["worker", "session", "stream"]
    backlog = GaugeMetricFamily("qecpipe_backlog", "Data frames accepted, not decoded.", labels=labels)
    credits = GaugeMetricFamily("qecpipe_credits", "Data frames that may be sent.", labels=labels)
    age = GaugeMetricFamily("qecpipe_model_age_seconds", "Time since the model took over.", labels=labels)
    density = GaugeMetricFamily(
        "qecpipe_syndrome_density", "Share of stabilizers that fire in a round.", labels=labels
    )
    drift = GaugeMetricFamily(
        "qecpipe_drift_sigmas", "Density less that of the first rounds, in standard errors.", labels=labels
    )
    for worker, snapshot in snapshots:
        busy.add_metric([worker], snapshot.busy)
        memory.add_metric([worker], snapshot.resident_bytes)
        builds.add_metric([worker], snapshot.builds)
        for stream in snapshot.streams:
            values = [worker, stream.session[:8], str(stream.stream)]
            backlog.add_metric(values, stream.in_flight)
            credits.add_metric(values, stream.window - stream.in_flight)
            age.add_metric(values, stream.model_age)
            density.add_metric(values, stream.density.mean)
            drift.add_metric(values, stream.density.drift)
    yield from (busy, memory, builds, backlog, credits, age, density, drift)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip([*BOUNDS_US, None], counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else repr(bound / 1e6), total))
    return buckets


def _percentiles(counts: list[int]) -> dict[str, float | None]:
    """Upper bounds of the buckets in which the quantiles lie; None without data, or past the last."""
    found: dict[str, float | None] = {}
    for quantile in _QUANTILES:
        total, below = sum(counts), 0
        name = f"p{100 * quantile:g}"
        found[name] = None
        for bound, count in zip(BOUNDS_US, counts, strict=False):  # the last bucket has no bound
            below += count
            if total and below >= quantile * total:
                found[name] = bound
                break
    return found
