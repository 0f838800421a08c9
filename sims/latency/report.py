"""What `qecpipe latency` leaves behind: a table, Parquet files and a latency-against-LER plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from qec import output_file
from sims.latency.measure import QUANTILES, DecoderLatency, StageTimes
from sims.plots.latency import draw_latency
from sims.statistics import INTERVAL_NAME, error_rate, per_round

SUMMARY_FILE = "latency.parquet"
SAMPLES_FILE = "latency_samples.parquet"
PLOT_FILE = "latency_vs_ler.png"
OUTPUTS = (SUMMARY_FILE, SAMPLES_FILE, PLOT_FILE)


@dataclass(frozen=True)
class LatencyPoint:
    """Latency of one decoder on one circuit; `metadata` describes circuit and network (d, p, weights...)."""

    metadata: dict[str, Any]
    latency: DecoderLatency


def summary_frame(points: Sequence[LatencyPoint]) -> pl.DataFrame:
    """One row per circuit, decoder, mode and stage: microseconds per round, and the decoder's LER.

    A quantile that the samples cannot resolve (p99.9 of fewer than 1,000) is null.
    """
    return pl.DataFrame([row for point in points for row in _summary_rows(point)], infer_schema_length=None)


def _summary_rows(point: LatencyPoint) -> list[dict[str, Any]]:
    latency, rounds = point.latency, point.metadata["rounds"]
    shot = error_rate(latency.errors, latency.shots)
    ler = per_round(shot, rounds)
    rates = {
        "shots": latency.shots,
        "errors": latency.errors,
        "ler_per_shot": shot.best,
        "ler_per_round": ler.best,
        "ler_per_round_low": ler.low,
        "ler_per_round_high": ler.high,
    }
    return [
        {
            **point.metadata,
            "decoder": latency.decoder,
            "mode": times.mode,
            "batch_shots": times.batch_shots,
            "stage": stage,
            "samples": len(us),
            **{f"{name}_us_per_round": _quantile(us, q) for name, q in QUANTILES.items()},
            "max_us_per_round": float(us.max()),
            "mean_us_per_round": float(us.mean()),
            **rates,
        }
        for times in latency.times
        for stage, us in times.us_per_round(rounds).items()
    ]


def _quantile(us: np.ndarray, quantile: float) -> float | None:
    resolved = quantile <= 0.5 or len(us) * (1 - quantile) >= 0.999
    return float(np.quantile(us, quantile)) if resolved else None


def samples_frame(points: Sequence[LatencyPoint]) -> pl.DataFrame:
    """Every sample, for histograms: nanoseconds of one shot or one batch, by stage."""
    frames = [
        _samples(point, times, column, stage)
        for point in points
        for times in point.latency.times
        for column, stage in enumerate(times.stages)
    ]
    return pl.concat(frames)


def _samples(point: LatencyPoint, times: StageTimes, column: int, stage: str) -> pl.DataFrame:
    meta = point.metadata
    frame = pl.DataFrame({"sample": np.arange(len(times.ns)), "ns": times.ns[:, column]})
    return frame.select(
        pl.lit(meta["d"]).alias("d"),
        pl.lit(meta["rounds"]).alias("rounds"),
        pl.lit(float(meta["p"])).alias("p"),
        pl.lit(meta["basis"]).alias("basis"),
        pl.lit(point.latency.decoder).alias("decoder"),
        pl.lit(times.mode).alias("mode"),
        pl.lit(times.batch_shots).alias("batch_shots"),
        pl.lit(stage).alias("stage"),
        "sample",
        "ns",
    )


def latency_table(summary: pl.DataFrame) -> Table:
    """The summary as a rich table, microseconds per round."""
    table = Table(
        title=f"Latency in µs per round, warm; LER per round with {INTERVAL_NAME} in the plot",
        caption=(
            "single: one shot at a time; batched: a batch's time over its shots. "
            "total: what a shot waits for the decoder. - : too few samples for that quantile."
        ),
        caption_justify="left",
    )
    for heading in ("circuit", "decoder", "mode", "stage"):
        table.add_column(heading, no_wrap=True)
    columns = [f"{name}_us_per_round" for name in (*QUANTILES, "max")]
    for heading in (*QUANTILES, "max", "LER/round"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for row in summary.iter_rows(named=True):
        group = (row["d"], row["p"], row["basis"], row["decoder"], row["mode"])
        if previous is not None and group[:4] != previous[:4]:
            table.add_section()
        first = group != previous
        previous = group
        mode = row["mode"] if row["mode"] == "single" else f"batched x{row['batch_shots']}"
        table.add_row(
            f"d={row['d']} r={row['rounds']} p={row['p']:g} {row['basis']}" if first else "",
            row["decoder"] if first else "",
            mode if first else "",
            row["stage"],
            *("-" if row[column] is None else f"{row[column]:.2f}" for column in columns),
            f"{row['ler_per_round']:.2e}" if first else "",
        )
    return table


def write_report(points: Sequence[LatencyPoint], out: Path) -> list[Path]:
    """Write both Parquet files and the plot into `out`; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    summary = summary_frame(points)
    paths = []
    for frame, name in ((summary, SUMMARY_FILE), (samples_frame(points), SAMPLES_FILE)):
        path = out / name
        with output_file(path) as unfinished:
            frame.write_parquet(unfinished)
        paths.append(path)
    return [*paths, draw_latency(summary, out / PLOT_FILE)]
