"""The plot of post-selection: error rates against what is discarded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sinter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sims.plots.figure import legend_below, save_figure
from sims.plots.style import Look, looks
from sims.plots.sweep import LIKELIHOOD_FACTOR
from sims.sweeps.kept import GapCounts
from sims.sweeps.labels import check_metadata, curve_label, sweep_order

__all__ = ["LER_VS_KEPT", "draw_kept"]

LER_VS_KEPT = "ler_vs_kept.png"
_PANEL_INCHES = (3.4, 3.1)
_LEAST_DISCARDED = 1e-4
_ALL = 0.7
"""Where on the axis of discarded shots, which has no 0, none stand: this factor of the least."""


def draw_kept(stats: Sequence[sinter.TaskStats], out: Path) -> Path | None:
    """Write `ler_vs_kept.png` into the folder `out`, a panel per circuit; None if no row counted gaps."""
    counted = [(one, counts) for one in stats if (counts := GapCounts.of_stats(one)) is not None]
    if not counted:
        return None
    check_metadata([one for one, _ in counted])
    counted.sort(key=lambda pair: sweep_order(pair[0]))
    label = curve_label([one for one, _ in counted])
    curves = looks(list(dict.fromkeys((label(one), one.decoder) for one, _ in counted)))
    panels = list(dict.fromkeys(_panel(one) for one, _ in counted))
    width, height = _PANEL_INCHES
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(6.5, width * columns), height * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        for one, counts in counted:
            if _panel(one) == panel:
                _draw(axes, counts, curves[label(one)], rounds=one.json_metadata["rounds"])
        axes.set_title(panel, fontsize="small")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(which="major", alpha=0.35)
        axes.set_xlabel("fraction discarded (left end: none)")
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes in grid[: len(panels) : columns]:
        axes.set_ylabel("logical error rate per round, kept shots")
    figure.suptitle(f"bands: rates within a likelihood factor of {LIKELIHOOD_FACTOR:g}", fontsize="small")
    legend_below(figure, curves)
    return save_figure(figure, out / LER_VS_KEPT)


def _panel(one: sinter.TaskStats) -> str:
    meta = one.json_metadata
    noise = f", {meta['noise']}" if "noise" in meta else ""
    return f"d = {meta['d']}, p = {meta['p']:g}, {meta['basis'].upper()}{noise}"


def _draw(axes: Axes, counts: GapCounts, look: Look, *, rounds: int) -> None:
    kept, wrong = counts.curve()
    discarded = 1 - kept / kept[0]
    shown = np.flatnonzero((wrong > 0) & ((discarded > _LEAST_DISCARDED) | (np.arange(len(kept)) == 0)))
    if not len(shown):
        return
    fits = [
        sinter.fit_binomial(
            num_shots=int(kept[k]), num_hits=int(wrong[k]), max_likelihood_factor=LIKELIHOOD_FACTOR
        )
        for k in shown
    ]
    low, best, high = (
        [sinter.shot_error_rate_to_piece_error_rate(getattr(fit, name), pieces=rounds) for fit in fits]
        for name in ("low", "best", "high")
    )
    at = np.maximum(discarded[shown], _ALL * _LEAST_DISCARDED)
    axes.plot(at, best, color=look.color, linestyle=look.linestyle, linewidth=1.4)
    axes.plot(at[:1], best[:1], color=look.color, marker=look.marker, markersize=5)
    axes.fill_between(at, low, high, color=look.color, alpha=0.13, linewidth=0)
