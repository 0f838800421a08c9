"""Figures with a panel for every circuit."""

from __future__ import annotations

from collections.abc import Iterable

import sinter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["LIKELIHOOD_FACTOR", "circuit_panels", "panel_title", "per_round_fit"]

LIKELIHOOD_FACTOR = 1000.0
"""Bands hold every rate at most this many times less likely than the best one (sinter's default)."""
_PANEL_INCHES = (3.4, 3.1)
_NARROWEST_INCHES = 6.5
_MOST_COLUMNS = 4


def panel_title(one: sinter.TaskStats) -> str:
    """The circuit of a row of results."""
    meta = one.json_metadata
    noise = f", {meta['noise']}" if "noise" in meta else ""
    return f"d = {meta['d']}, p = {meta['p']:g}, {meta['basis'].upper()}{noise}"


def circuit_panels(titles: Iterable[str], *, x_label: str, y_label: str) -> tuple[Figure, dict[str, Axes]]:
    """A figure of log-log panels with common axes, by title."""
    names = list(dict.fromkeys(titles))
    width, height = _PANEL_INCHES
    columns = min(_MOST_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(
        figsize=(max(_NARROWEST_INCHES, width * columns), height * rows + 0.9), layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for number, (axes, name) in enumerate(zip(grid, names, strict=False)):
        axes.set(title=name, xscale="log", yscale="log")
        axes.title.set_fontsize("small")
        axes.grid(which="major", alpha=0.35)
        axes.set_xlabel(x_label)
        if number % columns == 0:
            axes.set_ylabel(y_label)
    for axes in grid[len(names) :]:
        axes.remove()
    figure.suptitle(f"bands: rates within a likelihood factor of {LIKELIHOOD_FACTOR:g}", fontsize="small")
    return figure, dict(zip(names, grid, strict=False))


def per_round_fit(*, shots: int, errors: int, rounds: int) -> tuple[float, float, float]:
    """(low, best, high): the error rate per round, with the band that sinter draws."""
    fit = sinter.fit_binomial(num_shots=shots, num_hits=errors, max_likelihood_factor=LIKELIHOOD_FACTOR)
    low, best, high = (
        sinter.shot_error_rate_to_piece_error_rate(value, pieces=rounds)
        for value in (fit.low, fit.best, fit.high)
    )
    return low, best, high
