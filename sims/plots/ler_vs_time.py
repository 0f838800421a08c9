"""The plot of what accuracy costs: error rates against decoding time, a point for every decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sinter

from sims.plots.figure import legend_below, save_figure
from sims.plots.panels import circuit_panels, panel_title, per_round_fit
from sims.plots.style import looks
from sims.sweeps.labels import check_metadata, curve_label, sweep_order
from sims.sweeps.measured_sampler import DECODE_NS, PREDECODE_NS

__all__ = ["LER_VS_TIME", "draw_ler_vs_time"]

LER_VS_TIME = "ler_vs_time.png"


def draw_ler_vs_time(stats: Sequence[sinter.TaskStats], out: Path) -> Path | None:
    """Write `ler_vs_time.png` into the folder `out`, a panel per circuit.

    Times are the decoder's alone, per round, on one worker. None, and no plot, where fewer than two decoders
    have times.
    """
    timed = [one for one in stats if DECODE_NS in one.custom_counts and one.shots > one.discards]
    check_metadata(timed)
    timed.sort(key=sweep_order)
    label = curve_label(timed)
    if len({label(one) for one in timed}) < 2:
        return None
    curves = looks(list(dict.fromkeys((label(one), one.decoder) for one in timed)))
    figure, panels = circuit_panels(
        map(panel_title, timed),
        x_label="decoding time, µs per round",
        y_label="logical error rate per round",
    )
    for one in timed:
        rounds = one.json_metadata["rounds"]
        nanoseconds = one.custom_counts[DECODE_NS] + one.custom_counts[PREDECODE_NS]
        low, best, high = per_round_fit(shots=one.shots - one.discards, errors=one.errors, rounds=rounds)
        look = curves[label(one)]
        axes = panels[panel_title(one)]
        at = nanoseconds / (1000 * one.shots * rounds)
        axes.vlines([at], [low], [high], color=look.color, linewidth=1.2)
        if one.errors:
            axes.plot([at], [best], color=look.color, marker=look.marker, markersize=6, linestyle="none")
    legend_below(figure, curves)
    return save_figure(figure, out / LER_VS_TIME)
