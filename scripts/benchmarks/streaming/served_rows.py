"""What the service adds to a round that comes alone, and whether streams keep out of each other's way."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import stim

from decoder_service.load import LoadReport, ShotSet
from scripts.benchmarks.streaming.targets import Served, Setup, Target, in_process, served, service

TURNS = 5
STREAMS = 8


def measure_overhead(
    setup: Setup, circuit: stim.Circuit, shots: ShotSet, *, period_us: float, rounds: int
) -> dict[str, Any]:
    """One round a frame at a calm period: latency of commits here and through the service, in turns.

    Load and service spin between rounds, which takes a core each; so none has real-time priority. The medians
    of the turns' p50 and p99, and of their differences.
    """
    here = in_process(setup, circuit, shots)
    options = {"realtime": False}
    with (
        service(**options) as address,
        served(setup, circuit, shots, address=address, **options) as there,
    ):
        turns = [[_alone(target, period_us, rounds) for target in (here, there)] for _ in range(TURNS)]
    found: dict[str, Any] = {"name": setup.name, "period_us": period_us, "rounds": rounds, "turns": TURNS}
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        pairs = [[_quantile_us(report, quantile) for report in pair] for pair in turns]
        found[name] = {
            "in_process_us": round(statistics.median(here_us for here_us, _ in pairs), 2),
            "service_us": round(statistics.median(there_us for _, there_us in pairs), 2),
            "added_us": round(statistics.median(there_us - here_us for here_us, there_us in pairs), 2),
        }
    return found


def measure_streams(
    setup: Setup, circuit: stim.Circuit, shots: ShotSet, *, address: Path, period_us: float, rounds: int
) -> dict[str, Any]:
    """Streams of one worker, each at its share of the rate: p99 of each, against a stream alone.

    Args:
        period_us: of all of them together.
        rounds: of each.
    """
    each_us = STREAMS * period_us
    with served(setup, circuit, shots, address=address) as one:
        alone = [_blocks(one, each_us, rounds, setup), _blocks(one, period_us, rounds * STREAMS, setup)]
    with served(setup, circuit, shots, address=address, streams=STREAMS) as all_of_them:
        together = _blocks(all_of_them, each_us, rounds, setup)
        again = _blocks(all_of_them, each_us, rounds, setup)
    ones = [
        max(_quantile_us(report, 0.99, stream=stream) for report in (together, again))
        for stream in range(STREAMS)
    ]
    base = _quantile_us(alone[0], 0.99)
    return {
        "name": setup.name,
        "streams": STREAMS,
        "period_us": round(each_us, 3),
        "rounds": rounds,
        "p99_alone_us": base,
        "p99_alone_full_rate_us": _quantile_us(alone[1], 0.99),
        "p99_by_stream_us": ones,
        "largest_ratio": round(max(ones) / base, 3),
    }


def _alone(target: Target, period_us: float, rounds: int) -> LoadReport:
    return _checked(target.run(period_us=period_us, rounds=rounds, rounds_per_block=1))


def _blocks(target: Served, period_us: float, rounds: int, setup: Setup) -> LoadReport:
    return _checked(target.run(period_us=period_us, rounds=rounds, rounds_per_block=setup.distance))


def _checked(report: LoadReport) -> LoadReport:
    if not report.complete:
        raise RuntimeError(f"{report.commits} COMMITs, {report.results} RESULTs")
    return report


def _quantile_us(report: LoadReport, quantile: float, *, stream: int | None = None) -> float:
    values = report.latency("commit", stream=stream)
    return round(float(np.quantile(values, quantile, method="inverted_cdf")) / 1000, 2)
