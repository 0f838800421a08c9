"""What all plots share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qec import output_file
from sims.plots.style import Look

_CHARACTERS_PER_INCH = 11
_HANDLE_CHARACTERS = 10
"""About what a legend's entry takes beside its text, in characters of small print."""


def save_figure(figure: Figure, path: Path) -> Path:
    """Write `figure` as PNG, complete or not at all; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format="png")
    return path


def legend_below(figure: Figure, curves: Mapping[str, Look]) -> None:
    """A legend of all panels below them, where no data is, in the order of `curves`; none without curves."""
    if not curves:
        return
    handles = [
        Line2D([], [], label=name, markersize=5, linewidth=1.4, **look.as_arguments())
        for name, look in curves.items()
    ]
    longest = max((len(name) for name in curves), default=1)
    per_row = max(1, int(figure.get_figwidth() * _CHARACTERS_PER_INCH / (longest + _HANDLE_CHARACTERS)))
    figure.legend(
        handles=_by_rows(handles, per_row),
        loc="outside lower center",
        ncols=min(per_row, len(handles)),
        fontsize="small",
        frameon=False,
        handlelength=3.5,
    )


def _by_rows(handles: list[Line2D], per_row: int) -> list[Line2D]:
    """The handles in such an order that matplotlib, which fills columns, shows them row by row."""
    columns = min(per_row, len(handles))
    rows = [handles[start : start + columns] for start in range(0, len(handles), columns)]
    return [row[k] for k in range(columns) for row in rows if k < len(row)]
