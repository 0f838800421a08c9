"""Pages over HTTP, on loopback only and only GET: metrics of all workers, status as JSON, a status page."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from decoder_service.server.control import WorkerStatus
from decoder_service.server.handshake import Handshakes
from decoder_service.server.metrics import COUNTERS, STAGES
from decoder_service.server.processes import Builds
from decoder_service.server.supervisor import Supervisor

HOST = "127.0.0.1"
AT_ONCE = 32
"""Connections that are answered."""
TIMEOUT = 5.0
"""Seconds for a request to arrive and its answer to leave."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES = (0.5, 0.9, 0.99, 0.999)


class Observed(NamedTuple):
    """Those who know what the pages tell of a server; `folder` is where workers write what they count."""

    supervisor: Supervisor
    handshakes: Handshakes
    builds: Builds
    folder: Path


async def start_http(server: Observed, port: int) -> asyncio.Server:
    """Serves the pages of a server on this loopback port; 0 for any free one.

    Connections past `AT_ONCE` are closed at once: every user of this machine can make them.
    """
    open_now = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= AT_ONCE:
                await respond(reader, writer)
        finally:
            open_now -= 1
            writer.close()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_respond(server, request))
                await writer.drain()

    return await asyncio.start_server(answer, HOST, port, limit=1 << 14)


def _respond(server: Observed, request: bytes) -> bytes:
    line, *headers = request.split(b"\r\n")
    # A page of another origin that resolves its own name to loopback must not read the status.
    hosts = [header[5:].strip() for header in headers if header.lower().startswith(b"host:")]
    if not all(host.split(b":")[0] in (b"127.0.0.1", b"localhost") for host in hosts):
        return _message(403, "text/plain", b"this page is for 127.0.0.1\n")
    method, _, rest = line.partition(b" ")
    if method != b"GET":
        return _message(405, "text/plain", b"only GET\n")
    path = rest.split(b" ")[0].split(b"?")[0]
    if path == b"/metrics":
        return _message(200, CONTENT_TYPE, prometheus_text(server))
    if path == b"/status.json":
        return _message(200, "application/json", json.dumps(status(server)).encode())
    if path == b"/":
        page = resources.files("decoder_service.server").joinpath("status.html").read_bytes()
        return _message(200, "text/html; charset=utf-8", page)
    return _message(404, "text/plain", b"pages: / /status.json /metrics\n")


def _message(code: int, kind: str, body: bytes) -> bytes:
    reasons = {200: "OK", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
    head = (
        f"HTTP/1.1 {code} {reasons[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nContent-Security-Policy: {_POLICY}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def prometheus_text(server: Observed) -> bytes:
    """The page that a Prometheus server scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServerCollector(server))
    MultiProcessCollector(registry, path=str(server.folder))
    return generate_latest(registry)


def status(server: Observed) -> dict[str, Any]:
    """What the status page shows, as JSON-ready values; latencies in µs."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(server.folder))
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    totals = {sample.name: sample.value for sample in samples if not sample.labels}
    buckets: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
    for sample in samples:
        if sample.name == "qecpipe_round_seconds_bucket":
            buckets[sample.labels["stage"]].append((float(sample.labels["le"]), sample.value))
    return {
        "restarts": server.supervisor.restarts,
        "refused": server.handshakes.refused,
        "connections": len(server.handshakes) + server.supervisor.connections,
        "counters": {name: int(totals.get(f"qecpipe_{name}_total", 0)) for name in COUNTERS},
        "latency_us": {stage: _percentiles(sorted(found)) for stage, found in buckets.items()},
        "workers": [
            {name: getattr(worker, name) for name in ("pid", "busy", "resident_bytes", "sessions")}
            for worker in _workers(server)
        ],
        "streams": [
            {
                "name": f"{stream.session[:8]}/{stream.stream}",
                "model_id": stream.model_id,
                "model_age": stream.model_age,
                "in_flight": stream.in_flight,
                "window": stream.window,
                "connected": stream.connected,
                "density": [round(share, 5) for share in stream.density],
                "mean": stream.mean,
                "baseline": stream.baseline,
                "drift": stream.drift,
            }
            for worker in _workers(server)
            for stream in worker.streams
        ],
    }


class _ServerCollector(Collector):
    """What has a value now: read from the workers' files, at most about a second old."""

    def __init__(self, server: Observed) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        server = self._server
        yield from _gauges(_workers(server))
        restarts = CounterMetricFamily("qecpipe_worker_restarts", "Workers that ended and were replaced.")
        restarts.add_metric([], server.supervisor.restarts)
        refused = CounterMetricFamily("qecpipe_refused_connections", "Connections without a good HELLO.")
        refused.add_metric([], server.handshakes.refused)
        delay = GaugeMetricFamily(
            "qecpipe_worker_restart_delay_seconds",
            "Wait before a worker took the place of the last that ended.",
        )
        delay.add_metric([], server.supervisor.restart_delay)
        builds = GaugeMetricFamily("qecpipe_builds", "Models being built, or waiting for it.")
        builds.add_metric([], len(server.builds))
        connections = GaugeMetricFamily("qecpipe_connections", "Open connections, half-open ones included.")
        connections.add_metric([], len(server.handshakes) + server.supervisor.connections)
        sessions = GaugeMetricFamily("qecpipe_sessions", "Sessions in memory, or waited for after a crash.")
        sessions.add_metric([], len(server.supervisor.sessions))
        yield from (restarts, delay, refused, builds, connections, sessions)


def _workers(server: Observed) -> list[WorkerStatus]:
    found = (WorkerStatus.read(server.folder, slot.number) for slot in server.supervisor.slots)
    pids = server.supervisor.pids
    return [worker for worker in found if worker is not None and worker.pid in pids]


def _gauges(workers: list[WorkerStatus]) -> Iterator[Metric]:
    busy = GaugeMetricFamily("qecpipe_worker_busy", "Share of a core that is used.", labels=["worker"])
    memory = GaugeMetricFamily("qecpipe_worker_resident_bytes", "Resident memory.", labels=["worker"])
    labels = ["worker", "session", "stream"]
    backlog = GaugeMetricFamily("qecpipe_backlog", "Rows accepted, not decoded.", labels=labels)
    credits = GaugeMetricFamily("qecpipe_credits", "Rows that may be sent.", labels=labels)
    age = GaugeMetricFamily("qecpipe_model_age_seconds", "Time since the model took over.", labels=labels)
    density = GaugeMetricFamily(
        "qecpipe_syndrome_density", "Share of stabilizers that fire in a round.", labels=labels
    )
    drift = GaugeMetricFamily(
        "qecpipe_drift_sigmas", "Density less that of the first rounds, in standard errors.", labels=labels
    )
    for worker in workers:
        busy.add_metric([str(worker.slot)], worker.busy)
        memory.add_metric([str(worker.slot)], worker.resident_bytes)
        for stream in worker.streams:
            values = [str(worker.slot), stream.session[:8], str(stream.stream)]
            backlog.add_metric(values, stream.in_flight)
            credits.add_metric(values, stream.window - stream.in_flight)
            age.add_metric(values, stream.model_age)
            density.add_metric(values, stream.mean)
            drift.add_metric(values, stream.drift)
    yield from (busy, memory, backlog, credits, age, density, drift)


def _percentiles(cumulative: list[tuple[float, float]]) -> dict[str, float | None]:
    """Upper bounds, in µs, of the buckets in which the quantiles lie; None without data, or past the last."""
    found: dict[str, float | None] = {}
    total = cumulative[-1][1] if cumulative else 0
    for quantile in _QUANTILES:
        bounds = (bound for bound, below in cumulative if total and below >= quantile * total)
        bound = next(bounds, float("inf"))
        found[f"p{100 * quantile:g}"] = None if bound == float("inf") else round(1e6 * bound, 1)
    return found
