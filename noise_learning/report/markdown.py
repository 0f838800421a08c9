"""What was learned, and how far to believe it, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noise_learning.drift.block_summary import DriftSummary
from noise_learning.estimators.fit import NoiseFit
from noise_learning.models.location_classes import KINDS
from noise_learning.report.location_rates import LocationClass

__all__ = ["ReportContext", "assumed_model", "largest_deviations", "render_report"]

DEVIATIONS = 10
"""Places in the table of deviations, numbered as on the map."""
_MOST_COMBINATIONS = 40


@dataclass(frozen=True)
class ReportContext:
    """What a report says about where its shots came from.

    Attributes:
        circuit: its name.
        shot_files: their names.
        selection: which of their shots were used, in words.
        asked_for: the estimator that was asked for, such as 'auto'.
        lattice_plot, drift_plot: file names of pictures, None where one was not drawn.
    """

    circuit: str
    shot_files: tuple[str, ...]
    selection: str
    asked_for: str
    lattice_plot: str | None
    drift_plot: str | None


def largest_deviations(places: Sequence[LocationClass], *, most: int = DEVIATIONS) -> list[LocationClass]:
    """The places whose rates differ most from the assumed ones in standard errors, largest first."""
    return sorted(places, key=lambda place: -abs(place.z_score))[:most]


def assumed_model(fit: NoiseFit) -> str:
    """What the fit is held against, in words."""
    return (
        "the given circuit"
        if np.array_equal(fit.assumed, fit.structure.given)
        else "the shared-parameter fit"
    )


def render_report(
    fit: NoiseFit, context: ReportContext, *, deviations: Sequence[LocationClass], drift: DriftSummary
) -> str:
    """The whole report; `deviations` are numbered in the order given."""
    parts = [
        "# Learned noise\n",
        _summary(fit, context),
        _notes(fit),
        _deviations(fit, deviations, context),
        _combinations(fit),
        _drift(drift, context),
    ]
    return "\n".join(part for part in parts if part)


def _summary(fit: NoiseFit, context: ReportContext) -> str:
    structure = fit.structure
    chosen = f"{fit.estimator} (asked for: {context.asked_for})"
    equations = len(structure.subsets) - len(fit.dropped)
    rows = {
        "circuit": f"{context.circuit}: {structure.num_detectors:,} detectors, {len(structure.mechanisms):,} "
        f"mechanisms with {len(structure.detector_sets):,} different detector sets",
        "shots": f"{fit.shots:,.0f} ({context.selection}) from {', '.join(context.shot_files)}",
        "estimator": chosen,
        "chi² per degree of freedom": f"{fit.chi2_per_row:.3g} ({equations:,} equations, {fit.dof:,} "
        "degrees of freedom; about 1 where the model holds). Variances are those of the fitted model",
        "relative error of a rate": f"median {np.median(fit.sigma / fit.p):.2g} (one standard error)",
    }
    return _table(("", ""), list(rows.items()))


def _notes(fit: NoiseFit) -> str:
    if not fit.notes:
        return ""
    return "\n".join(["## Why this estimator, and what to know\n", *(f"- {note}" for note in fit.notes), ""])


def _deviations(fit: NoiseFit, deviations: Sequence[LocationClass], context: ReportContext) -> str:
    if not deviations:
        return "## Deviations\n\nNo map: every detector needs coordinates (x, y, t) for one.\n"
    rows = [
        (
            str(number),
            place.kind,
            " ".join(f"({x:g}, {y:g})" for x, y in place.positions),
            f"{place.rate:.3g} ± {place.sigma:.1g}",
            f"{place.assumed:.3g}",
            f"{place.ratio:.2f}",
            f"{place.z_score:+.1f}",
        )
        for number, place in enumerate(deviations, start=1)
    ]
    headings = ("", "kind", "ancillas (x, y)", "learned", "assumed", "ratio", "in standard errors")
    return "\n".join(
        [
            f"## Largest deviations from {assumed_model(fit)}\n",
            "Flips per round of everything that is seen by the same ancillas. "
            + "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
            + ".\n",
            _table(headings, rows),
            f"![learned rates on the patch]({context.lattice_plot})\n" if context.lattice_plot else "",
        ]
    )


def _combinations(fit: NoiseFit) -> str:
    if fit.parameters is None:
        return ""
    found = fit.parameters.identifiable()
    rows = [(text, f"{value / 2:.3g} ± {error / 2:.1g}") for text, value, error in found[:_MOST_COMBINATIONS]]
    more = len(found) - len(rows)
    return "\n".join(
        [
            "## What syndromes determine\n",
            f"{fit.parameters.rank} combinations of {len(fit.parameters.names)} parameters, as sums of "
            "rates; the parameters one by one are not known.\n",
            _table(("combination", "rate"), rows),
            f"{more} more are not shown.\n" if more else "",
        ]
    )


def _drift(drift: DriftSummary, context: ReportContext) -> str:
    count, longest = len(drift.shots), int(drift.shots.max())
    if count < 3:
        return f"## Drift\n\nNot visible in {count} block(s) of {longest:,} shots.\n"
    mean, error = drift.mean_chi2
    rows = [
        (group, f"{100 * drift.swing(group):.2g} %", f"{100 * drift.sampling_error(group):.2g} %")
        for group in drift.scales
    ]
    headings = (
        "mechanisms",
        "swing of their rates beyond sampling error (standard deviation)",
        "sampling error",
    )
    lines = [
        "## Drift\n",
        f"{count} blocks of {longest:,} shots, each against all: chi² per moment {mean:.3f} ± {error:.3f} "
        f"(1 without drift); {100 * drift.density.min():.3g} to {100 * drift.density.max():.3g} % of "
        "detectors fire.\n",
        _table(headings, rows),
    ]
    if context.drift_plot:
        lines.append(f"![rates over the shots]({context.drift_plot})\n")
    return "\n".join(lines)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
