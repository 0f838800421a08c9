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
    """Streams of one worker, each at its share of a rate: p99 of each, against one stream alone.

    Blocks of the streams are due one after the other, evenly: all together as often as those of one stream at
    the whole rate. One alone is measured at that rate, and at the share of it, where a block takes as much
    longer to fill. All three take turns; of each p99 the median over turns is what is compared.

    Args:
        period_us: of all of them together.
        rounds: of each.
    """
    each_us = STREAMS * period_us
    alone: list[float] = []
    whole_rate: list[float] = []
    together: list[list[float]] = []
    for _ in range(TURNS):
        with served(setup, circuit, shots, address=address) as one:
            alone.append(_quantile_us(_blocks(one, each_us, rounds, setup), 0.99))
            whole_rate.append(_quantile_us(_blocks(one, period_us, rounds * STREAMS, setup), 0.99))
        with served(setup, circuit, shots, address=address, streams=STREAMS) as all_of_them:
            report = _blocks(all_of_them, each_us, rounds, setup)
            together.append([_quantile_us(report, 0.99, stream=stream) for stream in range(STREAMS)])
    by_stream = [statistics.median(turns) for turns in zip(*together, strict=True)]
    share, whole = statistics.median(alone), statistics.median(whole_rate)
    return {
        "name": setup.name,
        "streams": STREAMS,
        "period_us": round(each_us, 3),
        "rounds": rounds,
        "turns": TURNS,
        "p99_alone_us": share,
        "p99_alone_full_rate_us": whole,
        "p99_by_stream_us": by_stream,
        "largest_ratio": round(max(by_stream) / share, 3),
        "largest_ratio_full_rate": round(max(by_stream) / whole, 3),
        "p99_of_turns_us": {"alone": alone, "alone_full_rate": whole_rate, "by_stream": together},
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
