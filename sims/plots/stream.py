"""Latencies of a stream: by percentile, and as HDR histograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hdrh.histogram import HdrHistogram
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qec import output_file
from sims.plots.figure import legend_below, save_figure
from sims.plots.style import Look

_LOOKS = {
    "commit": Look("#000000", "-", ""),
    "result": Look("#0072b2", (0, (6, 2)), ""),
    "service": Look("#d55e00", (0, (1, 1.2)), ""),
}
_HIGHEST_NS = 60_000_000_000
_DIGITS = 3


def draw_latency_percentiles(latencies_ns: Mapping[str, np.ndarray], path: Path) -> Path:
    """Draw latencies (int64 ns by name) over the number of nines, in µs; returns `path`."""
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    nines = np.linspace(0, 5, 200)
    drawn = {name: _LOOKS[name] for name, values in latencies_ns.items() if len(values)}
    for name, look in drawn.items():
        values = np.quantile(latencies_ns[name], 1 - 10**-nines, method="inverted_cdf") / 1000
        axes.plot(nines, values, **look.as_arguments())
    axes.set_xticks(range(6), ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"])
    axes.set(xlabel="percentile", ylabel="latency from the due time, µs", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    legend_below(figure, drawn)
    return save_figure(figure, path)


def write_histogram(latencies_ns: np.ndarray, path: Path) -> Path:
    """Write latencies (int64 ns) as the percentiles of an HDR histogram, in µs; returns `path`."""
    histogram = HdrHistogram(1, _HIGHEST_NS, _DIGITS)
    values, counts = np.unique(np.clip(latencies_ns, 1, _HIGHEST_NS), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        histogram.record_value(value, count)
    with output_file(path) as unfinished, unfinished.open("wb") as file:
        histogram.output_percentile_distribution(file, 1000.0)
    return path
