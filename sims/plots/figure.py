"""What all plots share."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from qec import output_file


def save_figure(figure: Figure, path: Path) -> Path:
    """Write `figure` as PNG, complete or not at all; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with output_file(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format="png")
    return path
