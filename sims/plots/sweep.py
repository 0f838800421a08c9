"""The two plots of a sweep, with sinter's likelihood bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sinter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from sims.plots.figure import legend_below, save_figure
from sims.plots.panels import LIKELIHOOD_FACTOR, per_round_fit
from sims.plots.style import BASELINE, Look, looks
from sims.sweeps.labels import Label, check_metadata, curve_label

LER_VS_P = "ler_vs_p.png"
LER_VS_DISTANCE = "ler_vs_distance.png"
_PANEL_INCHES = (3.3, 3.1)
_NARROWEST_INCHES = 6.5
_BESIDE = 1.02
"""Factor between the places of decoders that have one x in common."""


def draw_sweep(stats: Sequence[sinter.TaskStats], out: Path) -> list[Path]:
    """Write `ler_vs_p.png` and `ler_vs_distance.png` into the folder `out`; returns their paths.

    A panel per basis (rows) and distance or p (columns), a curve per decoder in each of them.
    """
    stats = [one for one in stats if one.shots > one.discards]
    if not stats:
        raise ValueError("there are no shots to plot; run a sweep first")
    check_metadata(stats)
    return [
        _draw(stats, out / LER_VS_P, x="p", panel="d", x_label="physical error rate p"),
        _draw(stats, out / LER_VS_DISTANCE, x="d", panel="p", x_label="distance d"),
    ]


def _draw(stats: Sequence[sinter.TaskStats], path: Path, *, x: str, panel: str, x_label: str) -> Path:
    bases = sorted({one.json_metadata["basis"] for one in stats})
    columns = sorted({one.json_metadata[panel] for one in stats})
    label = curve_label(stats)
    curves = looks(_curves(stats, label))
    width, height = _PANEL_INCHES
    figure = Figure(
        figsize=(max(_NARROWEST_INCHES, width * len(columns)), height * len(bases) + 0.9),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(bases), len(columns), sharex=True, sharey=True, squeeze=False)
    for row, basis in enumerate(bases):
        for column, value in enumerate(columns):
            axes = grid[row][column]
            shown = [
                one
                for one in stats
                if (one.json_metadata["basis"], one.json_metadata[panel]) == (basis, value)
            ]
            _draw_curves(axes, shown, x=x, label=label, curves=curves)
            axes.set_title(f"{panel} = {value:g}, {basis.upper()} basis", fontsize="medium")
            _dress(axes, sorted({one.json_metadata[x] for one in stats}))
        grid[row][0].set_ylabel("logical error rate per round")
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    figure.suptitle(f"bands: rates within a likelihood factor of {LIKELIHOOD_FACTOR:g}", fontsize="small")
    legend_below(figure, curves)
    return save_figure(figure, path)


def _curves(stats: Sequence[sinter.TaskStats], label: Label) -> list[tuple[str, str]]:
    """(label, decoder) of all curves: PyMatching first, then from the highest curve to the lowest."""
    heights: dict[tuple[str, str], list[float]] = {}
    for one in stats:
        rate = one.errors / (one.shots - one.discards)
        heights.setdefault((label(one), one.decoder), []).append(math.log(max(rate, 1e-12)))
    return sorted(
        heights, key=lambda curve: (curve[1] != BASELINE, -sum(heights[curve]) / len(heights[curve]), curve)
    )


def _draw_curves(
    axes: Axes, shown: Sequence[sinter.TaskStats], *, x: str, label: Label, curves: dict[str, Look]
) -> None:
    xs = {one.json_metadata[x] for one in shown}
    for number, (name, look) in enumerate(curves.items()):
        points = sorted((one for one in shown if label(one) == name), key=lambda one: one.json_metadata[x])
        if not points:
            continue
        # Where all points share one x, they stand beside each other.
        shift = _BESIDE ** (number - (len(curves) - 1) / 2) if len(xs) == 1 else 1.0
        at = np.array([one.json_metadata[x] * shift for one in points])
        rates = [_rate(one) for one in points]
        best = [rate.best if one.errors else math.nan for rate, one in zip(rates, points, strict=True)]
        low, high = np.array([(rate.low, rate.high) for rate in rates]).T
        axes.plot(at, best, **look.as_arguments(), markersize=5, linewidth=1.4)
        if len(points) == 1:
            axes.vlines(at, low, high, color=look.color, linestyle=look.linestyle, linewidth=1.2)
            continue
        # The outline has the style of the curve, so that bands that overlap can be told apart.
        axes.fill_between(
            at,
            low,
            high,
            facecolor=(look.color, 0.13),
            edgecolor=(look.color, 0.8),
            linestyle=look.linestyle,
            linewidth=0.6,
            zorder=1,
        )


def _rate(one: sinter.TaskStats) -> sinter.Fit:
    """Error rate per round of the shots that were kept, with the band that sinter draws."""
    low, best, high = per_round_fit(
        shots=one.shots - one.discards, errors=one.errors, rounds=one.json_metadata["rounds"]
    )
    return sinter.Fit(low=low, best=best, high=high)


def _dress(axes: Axes, xs: Sequence[float]) -> None:
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(xs)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.tick_params(axis="x", labelrotation=45 if len(xs) > 4 else 0)
    axes.grid(which="major", alpha=0.35)
    axes.grid(which="minor", alpha=0.12)
