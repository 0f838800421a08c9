"""The pictures of `qecpipe learn-noise`: learned rates on the patch, and their drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from noise_learning import KINDS, DriftSummary, Kind, LocationClass
from sims.plots.figure import save_figure

LATTICE_PLOT = "lattice.png"
DRIFT_PLOT = "drift.png"
_HALF_RANGES = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Ranges 1/h to h that the colours of ratios may span."""
_DECADES = 1.5
"""Colours of rates span at most this, down from the highest, so that small rates cost no contrast."""
_AXIS_INCHES = 5.2
"""About how wide an axis of the figure is."""
_INK = "0.3"
_DRIFT_MARKERS = ("o", "s", "^", "D", "v", "P")
_DRIFT_LINES = ("-", "--", ":", "-.")
_MARKERS: dict[Kind, str] = {"time": "o", "readout": "D", "space": "-", "boundary": "-", "hyperedge": "s"}


def draw_lattice(
    classes: Sequence[LocationClass], path: Path, *, against: str, marked: Sequence[LocationClass] = ()
) -> Path:
    """Two heat maps of the patch: learned rates per round, and their ratio to the assumed ones.

    Thickness is the learned rate on both, so that rare mechanisms recede. `marked` location classes are
    numbered 1, 2, ... on the second; `against` names the assumed model. Raises ValueError without classes.
    """
    if not classes:
        raise ValueError("no mechanism acts between the first and last round, so there is no map to draw")
    rates = np.array([location.rate for location in classes])
    ratios = np.array([location.ratio for location in classes])
    top = max(rates.max(), 1e-9)
    half = next((h for h in _HALF_RANGES if np.quantile(np.abs(np.log(ratios)), 0.95) <= np.log(h)), 10.0)
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    patch = _Patch.of(classes)
    _map(left, patch, classes, rates, norm=LogNorm(top / 10**_DECADES, top, clip=True), colours="viridis")
    _map(right, patch, classes, ratios, norm=LogNorm(1 / half, half, clip=True), colours="RdBu_r")
    left.set_title("learned rate: flips per round")
    right.set_title(f"learned rate / rate in {against}")
    _number(right, patch, marked)
    kinds: list[Kind] = [kind for kind in KINDS if any(location.kind == kind for location in classes)]
    figure.legend(
        handles=[_legend_entry(kind) for kind in kinds],
        loc="outside lower center",
        ncols=len(kinds),
        frameon=False,
    )
    return save_figure(figure, path)


def draw_drift(drift: DriftSummary, path: Path) -> Path:
    """How much each kind's rates change over the shots, and each block's chi^2.

    Raises ValueError for fewer than two blocks.
    """
    if len(drift.shots) < 2:
        raise ValueError(f"{len(drift.shots)} block of shots is no curve; it takes two")
    figure = Figure(figsize=(8.5, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    density, rates, chi2 = figure.subplots(3, 1, sharex=True, height_ratios=(1, 2, 1))
    edges = np.append(drift.first_shot, drift.first_shot[-1] + drift.shots[-1])
    density.set_title(f"drift over {len(drift.shots)} blocks of shots")
    density.stairs(100 * drift.density, edges, baseline=None, color=_INK)
    density.set_ylabel("detection events\nper detector (%)")
    _draw_scales(rates, drift)
    chi2.stairs(drift.chi2, edges, baseline=None, color=_INK)
    chi2.axhline(1, color=_INK, linewidth=0.8, linestyle="--")
    chi2.set_ylabel("chi² per moment,\nblock against all")
    chi2.set_xlabel("shots")
    chi2.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for axes in (density, rates, chi2):
        axes.grid(alpha=0.3)
    if drift.scales:
        handles, _ = rates.get_legend_handles_labels()
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(drift.scales),
            fontsize="small",
            frameon=False,
        )
    return save_figure(figure, path)


def _draw_scales(axes: Axes, drift: DriftSummary) -> None:
    middle = drift.first_shot + drift.shots / 2
    apart = drift.shots.max() / 8  # so that error bars do not hide each other
    for number, (group, scales) in enumerate(drift.scales.items()):
        error = drift.sampling_error(group) * np.sqrt(drift.shots.max() / drift.shots)
        axes.errorbar(
            middle + apart * (number - (len(drift.scales) - 1) / 2),
            100 * (scales - 1),
            None if np.isnan(error).any() else 100 * error,
            color=f"C{number}",
            marker=_DRIFT_MARKERS[number % len(_DRIFT_MARKERS)],
            markersize=4,
            linestyle=_DRIFT_LINES[number % len(_DRIFT_LINES)],
            linewidth=1.2,
            elinewidth=0.7,
            label=group,
        )
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_ylabel("rates against those\nlearned from all shots (%)")


@dataclass(frozen=True)
class _Patch:
    """Scale and middle of the drawing: coordinates differ from circuit to circuit."""

    ancillas: np.ndarray
    spacing: float
    middle: np.ndarray

    @classmethod
    def of(cls, classes: Sequence[LocationClass]) -> _Patch:
        ancillas = np.unique([position for location in classes for position in location.positions], axis=0)
        gaps = np.linalg.norm(ancillas[:, None] - ancillas[None], axis=2)
        apart = gaps[gaps > 0]
        return cls(ancillas, float(apart.min()) if len(apart) else 1.0, ancillas.mean(axis=0))

    def line(self, location: LocationClass) -> np.ndarray:
        """Ends of a line; a boundary stub points away from the middle."""
        start = np.array(location.positions[0])
        if location.kind == "space":
            return np.array(location.positions)
        away = start - self.middle
        length = np.linalg.norm(away)
        return np.array([start, start + 0.6 * self.spacing * (away / length if length else np.array([0, 1]))])

    def anchor(self, location: LocationClass) -> np.ndarray:
        """Where the class's number goes."""
        if location.kind in ("space", "boundary"):
            return self.line(location).mean(axis=0)
        return np.array(location.centre)


def _map(
    axes: Axes,
    patch: _Patch,
    classes: Sequence[LocationClass],
    values: np.ndarray,
    *,
    norm: LogNorm,
    colours: str,
) -> None:
    """Draws `values` of all classes as colours; rarer classes are thinner, and below the others."""
    span = np.ptp(patch.ancillas, axis=0).max() + 2 * patch.spacing
    unit = 72 * _AXIS_INCHES * patch.spacing / span
    scale = ScalarMappable(norm, colours)
    axes.set_facecolor("0.9")
    rates = np.array([location.rate for location in classes])
    thickness = np.clip(np.sqrt(rates / max(rates.max(), 1e-9)), 0.15, 1.0) * unit
    order = np.argsort(rates)
    for kind in KINDS:
        here = [k for k in order if classes[k].kind == kind]
        if not here:
            continue
        colour = scale.to_rgba(values[here])
        if kind in ("space", "boundary"):
            lines = [patch.line(classes[k]) for k in here]
            axes.add_collection(
                LineCollection(lines, colors=colour, linewidths=0.22 * thickness[here], zorder=2)
            )
        else:
            size, layer = {"time": (0.55, 4), "readout": (0.25, 5)}.get(kind, (0.3, 3))
            axes.scatter(
                *np.array([classes[k].centre for k in here]).T,
                s=(size * thickness[here]) ** 2,
                c=colour,
                marker=_MARKERS[kind],
                edgecolors=_INK,
                linewidths=0.4,
                zorder=layer,
            )
    axes.set_aspect("equal")
    low, high = patch.ancillas.min(axis=0) - patch.spacing, patch.ancillas.max(axis=0) + patch.spacing
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(high[1], low[1])  # y downwards, as circuits are drawn
    axes.set_xlabel("detector x")
    axes.set_ylabel("detector y")
    _colour_bar(axes, scale)


def _colour_bar(axes: Axes, scale: ScalarMappable) -> None:
    low, high = scale.get_clim()
    steps = [m * 10.0**e for e in range(-9, 2) for m in (1, 2, 5)]
    if high <= 10 and low >= 0.1 - 1e-9:
        steps = [1 / h for h in _HALF_RANGES] + [1.0, *_HALF_RANGES]
    bar = axes.figure.colorbar(scale, ax=axes, shrink=0.85, extend="both")
    bar.ax.yaxis.set_major_locator(FixedLocator([s for s in steps if low * 0.999 <= s <= high * 1.001]))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))


def _number(axes: Axes, patch: _Patch, marked: Sequence[LocationClass]) -> None:
    for number, location in enumerate(marked, start=1):
        x, y = patch.anchor(location)
        side = 11 if number % 2 else -11  # two classes may have one centre
        axes.annotate(
            str(number),
            (x, y),
            xytext=(side, 11),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            zorder=5,
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "black", "lw": 0.7},
            arrowprops={"arrowstyle": "-", "lw": 0.7, "shrinkA": 0, "shrinkB": 0},
        )


def _legend_entry(kind: Kind) -> Line2D:
    marker = _MARKERS[kind]
    label = f"{kind}: {KINDS[kind]}"
    if marker == "-":
        return Line2D([], [], color=_INK, linewidth=3, label=label)
    return Line2D(
        [], [], color=_INK, marker=marker, markersize=9 if marker == "o" else 5, linestyle="", label=label
    )
