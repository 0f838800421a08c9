"""The plot of post-selection: error rates against what is discarded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sinter
from matplotlib.axes import Axes

from sims.plots.figure import legend_below, save_figure
from sims.plots.panels import circuit_panels, panel_title, per_round_fit
from sims.plots.style import Look, looks
from sims.sweeps.kept import GapCounts
from sims.sweeps.labels import check_metadata, curve_label, sweep_order

__all__ = ["LER_VS_KEPT", "draw_kept"]

LER_VS_KEPT = "ler_vs_kept.png"
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
    figure, panels = circuit_panels(
        (panel_title(one) for one, _ in counted),
        x_label="fraction discarded (left end: none)",
        y_label="logical error rate per round, kept shots",
    )
    for one, counts in counted:
        axes = panels[panel_title(one)]
        _draw(axes, counts, curves[label(one)], rounds=one.json_metadata["rounds"])
    legend_below(figure, curves)
    return save_figure(figure, out / LER_VS_KEPT)


def _draw(axes: Axes, counts: GapCounts, look: Look, *, rounds: int) -> None:
    kept, wrong = counts.curve()
    discarded = 1 - kept / kept[0]
    shown = np.flatnonzero((wrong > 0) & ((discarded > _LEAST_DISCARDED) | (np.arange(len(kept)) == 0)))
    if not len(shown):
        return
    low, best, high = np.array(
        [per_round_fit(shots=int(kept[k]), errors=int(wrong[k]), rounds=rounds) for k in shown]
    ).T
    at = np.maximum(discarded[shown], _ALL * _LEAST_DISCARDED)
    axes.plot(at, best, color=look.color, linestyle=look.linestyle, linewidth=1.4)
    axes.plot(at[:1], best[:1], color=look.color, marker=look.marker, markersize=5)
    axes.fill_between(at, low, high, color=look.color, alpha=0.13, linewidth=0)
