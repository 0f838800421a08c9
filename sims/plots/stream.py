"""Latency of a decoder service by percentile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hdrh.histogram import HdrHistogram
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sims.plots.figure import legend_below, save_figure
from sims.plots.style import Look

_LOOKS = {
    "commit": Look("#000000", "-", ""),
    "result": Look("#0072b2", (0, (6, 2)), ""),
    "service": Look("#d55e00", (0, (1, 1.2)), ""),
}


def draw_latency_percentiles(histograms: Mapping[str, HdrHistogram], path: Path) -> Path:
    """Draw nanosecond histograms by name over the number of nines, in µs; returns `path`."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    nines = np.linspace(0, 5, 200)
    drawn = {name: _LOOKS[name] for name, one in histograms.items() if one.get_total_count()}
    for name, look in drawn.items():
        values = [histograms[name].get_value_at_percentile(100 * (1 - 10**-x)) / 1000 for x in nines]
        axes.plot(nines, values, **look.as_arguments())
    axes.set_xticks(range(6), ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"])
    axes.set(xlabel="percentile", ylabel="latency from the due time, µs", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    legend_below(figure, drawn)
    return save_figure(figure, path)
