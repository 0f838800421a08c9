"""The shortest period at which a stream's backlog stays bounded, and latencies at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from decoder_service.load import LoadReport, quantiles_us
from scripts.benchmarks.streaming.targets import Setup, Target, Where

STEP = 1.1
"""Between the periods that are tried."""
_TRIES = 30
_CLOSED_US = 1e-3
"""So short a period that every round is due at once."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much to measure.

    Attributes:
        rounds: at the periods that are reported.
        search_seconds: at the periods on the way to them.
        most_seconds: at those reported.
        stall_ms: how late outputs may be at the end of a run that counts as sustained.
    """

    rounds: int
    search_seconds: float
    most_seconds: float
    stall_ms: float = 1.0

    def keeps_up(self, report: LoadReport) -> bool:
        """Whether the report's period was sustained."""
        return report.keeps_up(stall_ns=1e6 * self.stall_ms)

    def search_rounds(self, period_us: float) -> int:
        """Rounds to try a period with."""
        return max(1, min(self.rounds, int(1e6 * self.search_seconds / period_us)))

    def report_rounds(self, period_us: float) -> int:
        """Rounds to report a period with."""
        return max(1, min(self.rounds, int(1e6 * self.most_seconds / period_us)))


def measure_periods(setup: Setup, where: Where, target: Target, effort: Effort) -> dict[str, Any]:
    """A row: the sustained period, and reports at it and at the periods that are required.

    Raises:
        RuntimeError: outputs were lost, doubled or wrong, or no period was sustained.
    """
    closed = _run(target, _CLOSED_US, min(effort.rounds, 20 * target.shots.rows_per_shot), setup)
    per_round_us = 1e6 * closed.seconds / closed.plan.rows
    report = _sustained(setup, target, effort, per_round_us)
    period_us = report.plan.period_ns / 1000
    rows = [_at(report, "sustained", effort)]
    for name, asked in (("goal", setup.goal_us), ("must", setup.must_us)):
        if asked > period_us:
            rows.append(_at(_run(target, asked, effort.report_rounds(asked), setup), name, effort))
    return {
        "name": setup.name,
        "where": where,
        "distance": setup.distance,
        "decoder": setup.stream.decoder,
        "predecoder": setup.stream.predecoder,
        "weights": target.shots.weights or None,
        "must_us": setup.must_us,
        "goal_us": setup.goal_us,
        "must_latency_us": setup.must_latency_us,
        "goal_latency_us": setup.goal_latency_us,
        "closed_loop_us": round(per_round_us, 3),
        "period_us": round(period_us, 3),
        "rounds_per_frame": setup.distance,
        "rounds_per_shot": target.shots.rows_per_shot,
        "at": rows,
    }


def _sustained(setup: Setup, target: Target, effort: Effort, per_round_us: float) -> LoadReport:
    for period_us in _periods(setup, per_round_us):
        if not effort.keeps_up(_run(target, period_us, effort.search_rounds(period_us), setup)):
            continue
        report = _run(target, period_us, effort.report_rounds(period_us), setup)
        if effort.keeps_up(report):
            return report
    raise RuntimeError(f"{setup.name}: no period up to {period_us:.1f} µs was sustained")


def _periods(setup: Setup, per_round_us: float) -> Iterator[float]:
    """Longer and longer ones, from what a round takes when it need not wait; those required among them."""
    tried = [1.02 * per_round_us * STEP**k for k in range(_TRIES)]
    yield from sorted([*tried, *(asked for asked in (setup.goal_us, setup.must_us) if asked > tried[0])])


def _run(target: Target, period_us: float, rounds: int, setup: Setup) -> LoadReport:
    report = target.run(period_us=period_us, rounds=rounds, rounds_per_block=setup.distance)
    if not report.complete:
        raise RuntimeError(
            f"{setup.name} at {period_us:.3g} µs: {asdict(report.commits)} COMMITs, "
            f"{asdict(report.results)} RESULTs"
        )
    return report


def _at(report: LoadReport, name: str, effort: Effort) -> dict[str, Any]:
    backlog = report.backlog()
    return {
        "name": name,
        "period_us": round(report.plan.period_ns / 1000, 3),
        "rounds": report.plan.rows,
        "sustained": effort.keeps_up(report),
        "commits": report.commits.received,
        "results": report.results.received,
        "latency_us": quantiles_us(report.latency("commit")),
        "inside_us": quantiles_us(report.latency("service")),
        "backlog_most": backlog.most,
        "backlog_end": backlog.end,
        "sent_late_us": quantiles_us(report.sent_late),
        "held_back": report.held_back,
    }
