"""Median latency against logical error rate: which decoder is better at what price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from sims.plots.figure import legend_below, save_figure
from sims.plots.style import BASELINE, Look, looks
from sims.statistics import INTERVAL_NAME

_PANEL_INCHES = (4.8, 4.0)
_NARROWEST_INCHES = 6.5


def draw_latency(summary: pl.DataFrame, path: Path) -> Path:
    """Draw median total time against LER per round, a panel per mode, p and basis; returns `path`.

    Args:
        summary: rows of `sims.latency.summary_frame`; those of stage 'total' are drawn. A marker holds its
            distance, a line joins the distances of one decoder, bars are the intervals of the LER.
    """
    totals = summary.filter(pl.col("stage") == "total")
    modes = totals["mode"].unique(maintain_order=True).to_list()
    columns = totals.select("p", "basis").unique().sort("p", "basis").rows()
    curves = looks([(name, name) for name in _decoders(totals)])
    width, height = _PANEL_INCHES
    size = (max(_NARROWEST_INCHES, width * len(columns)), height * len(modes) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(modes), len(columns), squeeze=False, sharey="col")
    for row, mode in enumerate(modes):
        for column, (p, basis) in enumerate(columns):
            axes = grid[row][column]
            here = (pl.col("mode") == mode) & (pl.col("p") == p) & (pl.col("basis") == basis)
            for decoder, look in curves.items():
                _draw_decoder(axes, totals.filter(here & (pl.col("decoder") == decoder)).sort("d"), look)
            axes.set_title(f"{_title(totals, mode)}, p = {p:g}, {basis.upper()} basis", fontsize="medium")
            axes.set_xlabel("median total time per round, µs")
            _dress(axes)
        grid[row][0].set_ylabel("logical error rate per round")
    figure.suptitle(
        f"numbers: distance; bars: {INTERVAL_NAME}; without an error, a point is at its upper limit",
        fontsize="small",
    )
    legend_below(figure, curves)
    return save_figure(figure, path)


def _decoders(totals: pl.DataFrame) -> list[str]:
    """PyMatching first, then from the highest error rate to the lowest, as the curves lie."""
    rates = totals.group_by("decoder").agg(pl.col("ler_per_round").mean())
    height = dict(rates.rows())
    return sorted(height, key=lambda name: (name != BASELINE, -height[name], name))


def _title(totals: pl.DataFrame, mode: str) -> str:
    if mode == "single":
        return "one shot at a time"
    sizes = totals.filter(pl.col("mode") == mode)["batch_shots"].unique().sort().to_list()
    return f"batches of {sizes[0]}" if len(sizes) == 1 else f"batches of {sizes[0]} to {sizes[-1]}"


def _draw_decoder(axes: Axes, rows: pl.DataFrame, look: Look) -> None:
    if rows.is_empty():
        return
    x = rows["p50_us_per_round"].to_numpy()
    high = rows["ler_per_round_high"].to_numpy()
    seen = rows["errors"].to_numpy() > 0
    y = np.where(seen, rows["ler_per_round"].to_numpy(), high)
    low = np.where(seen, rows["ler_per_round_low"].to_numpy(), y)
    axes.vlines(x, low, high, color=look.color, linewidth=1, alpha=0.6, zorder=2)
    axes.plot(
        x,
        y,
        **look.as_arguments(),
        linewidth=1,
        markersize=12,
        markerfacecolor="white",
        markeredgewidth=1.5,
        zorder=3,
    )
    for at_x, at_y, distance in zip(x, y, rows["d"], strict=True):
        axes.text(at_x, at_y, str(distance), fontsize=6, ha="center", va="center_baseline", zorder=4)


def _dress(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    axes.margins(0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", alpha=0.35)
    axes.grid(which="minor", alpha=0.12)
