"""Rows of the streaming table as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scripts.benchmarks.results import markdown_table
from scripts.benchmarks.streaming import account, gap

__all__ = ["RENDER", "verdict"]


def render_periods(rows: Sequence[dict[str, Any]]) -> str:
    """Sustained periods and latencies."""
    columns = (
        "sliding windows, c = b = d",
        "where",
        "requirement; goal, µs a round",
        "sustained, µs a round",
        "p50 / p99 / p99.9 at it, µs",
        "at the requirement, µs",
        "at the goal, µs",
        "backlog, most; end",
        "met",
    )
    return markdown_table(columns, (_period_cells(row) for row in rows))


def _period_cells(row: dict[str, Any]) -> list[object]:
    at = {one["name"]: one for one in row["at"]}
    sustained = at["sustained"]
    return [
        row["name"],
        row["where"],
        f"{row['must_us']:g}; {row['goal_us']:g}",
        f"**{row['period_us']:.2f}**",
        _latency(sustained),
        _latency(at.get("must")),
        _latency(at.get("goal")),
        f"{sustained['backlog_most']}; {sustained['backlog_end']}",
        verdict(row),
    ]


def _latency(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    values = one["latency_us"]
    return " / ".join(f"{values[name]:.0f}" for name in ("p50", "p99", "p99.9"))


def verdict(row: dict[str, Any]) -> str:
    """'goal', 'requirement' or 'no': the best of these whose period, and latencies if any, are met."""
    for name in ("goal", "must"):
        if row["period_us"] > row[f"{name}_us"]:
            continue
        limits = row[f"{name}_latency_us"]
        reports = [one for one in row["at"] if one["period_us"] <= row[f"{name}_us"] and one["sustained"]]
        if limits is None or any(
            one["latency_us"]["p50"] <= limits[0] and one["latency_us"]["p99"] <= limits[1] for one in reports
        ):
            return {"goal": "goal", "must": "requirement"}[name]
    return "no"


def render_overhead(rows: Sequence[dict[str, Any]]) -> str:
    """What a service adds to a round that comes alone."""
    columns = ("one round a frame", "period, µs", "", "in process, µs", "service, µs", "added, µs")
    return markdown_table(
        columns,
        (
            [row["name"], f"{row['period_us']:g}", quantile, *row[quantile].values()]
            for row in rows
            for quantile in ("p50", "p99")
        ),
    )


def render_streams(rows: Sequence[dict[str, Any]]) -> str:
    """Streams at once."""
    columns = (
        "streams",
        "each, µs a round",
        "p99 of one alone at that rate, µs",
        "p99 of one alone with all their rounds, µs",
        "p99 of each, µs",
        "largest / alone at that rate; with all rounds",
    )
    return markdown_table(
        columns,
        (
            [
                f"{row['streams']} of {row['name']}",
                row["period_us"],
                f"{row['p99_alone_us']:.0f}",
                f"{row['p99_alone_full_rate_us']:.0f}",
                ", ".join(f"{value:.0f}" for value in row["p99_by_stream_us"]),
                f"{row['largest_ratio']:.2f}; {row['largest_ratio_full_rate']:.2f}",
            ]
            for row in rows
        ),
    )


def render_ler(rows: Sequence[dict[str, Any]]) -> str:
    """Streams against whole shots."""
    columns = (
        "stream",
        "p",
        "rounds",
        "shots",
        "errors, whole shots",
        "only the stream wrong",
        "only the whole wrong",
        "ratio",
        "upper 95 %",
    )
    names = (
        "name",
        "p",
        "rounds",
        "shots",
        "errors_whole",
        "only_stream_wrong",
        "only_whole_wrong",
        "ratio",
        "upper_95",
    )
    return markdown_table(columns, ([row[name] for name in names] for row in rows))


RENDER: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "periods": render_periods,
    "overhead": render_overhead,
    "streams": render_streams,
    "ler": render_ler,
    "gap": gap.render,
    "account": account.render,
}
