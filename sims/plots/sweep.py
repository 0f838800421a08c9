"""The two plots of a sweep, drawn by sinter with likelihood bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sinter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from sims.plots.figure import save_figure
from sims.sweeps.labels import CIRCUIT_DETAILS, DECODER_DETAILS, check_metadata, details, differing

LIKELIHOOD_FACTOR = 1000.0
"""Bands hold every rate at most this many times less likely than the best one (sinter's default)."""
LER_VS_P = "ler_vs_p.png"
LER_VS_DISTANCE = "ler_vs_distance.png"


def draw_sweep(stats: Sequence[sinter.TaskStats], out: Path) -> list[Path]:
    """Write `ler_vs_p.png` and `ler_vs_distance.png` into the folder `out`; returns their paths."""
    stats = [one for one in stats if one.shots > one.discards]
    if not stats:
        raise ValueError("there are no shots to plot; run a sweep first")
    check_metadata(stats)
    return [
        _draw(stats, out / LER_VS_P, x="p", curves="d", x_label="physical error rate p"),
        _draw(stats, out / LER_VS_DISTANCE, x="d", curves="p", x_label="distance d"),
    ]


def _draw(stats: Sequence[sinter.TaskStats], path: Path, *, x: str, curves: str, x_label: str) -> Path:
    bases = sorted({one.json_metadata["basis"] for one in stats})
    figure = Figure(figsize=(6.5 * len(bases), 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, basis in zip(figure.subplots(1, len(bases), sharey=True, squeeze=False)[0], bases, strict=True):
        shown = [one for one in stats if one.json_metadata["basis"] == basis]
        sinter.plot_error_rate(
            ax=axes,
            stats=shown,
            x_func=lambda one: one.json_metadata[x],
            failure_units_per_shot_func=lambda one: one.json_metadata["rounds"],
            group_func=_curve(shown, curves),
            highlight_max_likelihood_factor=LIKELIHOOD_FACTOR,
        )
        _dress(axes, sorted({one.json_metadata[x] for one in shown}), x_label)
        axes.set_title(f"{basis.upper()} basis")
    figure.suptitle(f"bands: rates within a likelihood factor of {LIKELIHOOD_FACTOR:g}", fontsize="small")
    return save_figure(figure, path)


def _curve(shown: Sequence[sinter.TaskStats], key: str) -> Callable[[sinter.TaskStats], dict[str, Any]]:
    """sinter's grouping: colour by decoder, line and marker by `key`; what else differs is in the label."""
    as_many_as_d = all(one.json_metadata["rounds"] == one.json_metadata["d"] for one in shown)
    rounds = () if as_many_as_d else ("rounds",)
    extra = (*differing(shown, CIRCUIT_DETAILS), *rounds, *differing(shown, DECODER_DETAILS))

    def group(one: sinter.TaskStats) -> dict[str, Any]:
        meta = one.json_metadata
        decoder = ", ".join((one.decoder, *details(meta, extra)))
        return {
            "label": f"{decoder}, {key}={meta[key]:g}",
            "color": decoder,
            "marker": f"{meta[key]:g}",
            "linestyle": f"{meta[key]:g}",
        }

    return group


def _dress(axes: Axes, xs: Sequence[float], x_label: str) -> None:
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(xs)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(x_label)
    axes.set_ylabel("logical error rate per round")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize="x-small")
