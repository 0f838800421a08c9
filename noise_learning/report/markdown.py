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
"""Location classes in the table of deviations, numbered as on the map."""
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


def largest_deviations(classes: Sequence[LocationClass], *, most: int = DEVIATIONS) -> list[LocationClass]:
    """The classes whose rates differ most from the assumed ones in standard errors, largest first."""
    return sorted(classes, key=lambda one: -abs(one.z_score))[:most]


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
        "degrees of freedom; about 1 where the model holds, with its own variances)",
        "relative standard error of a rate": f"median {np.median(fit.sigma / fit.p):.2g}",
    }
    return markdown_rows(("", ""), list(rows.items()))


def _notes(fit: NoiseFit) -> str:
    if not fit.notes:
        return ""
    return "\n".join(
        ["## Why this estimator, and notes on the data\n", *(f"- {note}" for note in fit.notes), ""]
    )


def _deviations(fit: NoiseFit, deviations: Sequence[LocationClass], context: ReportContext) -> str:
    if not deviations:
        return "## Deviations\n\nNo map: every detector needs coordinates (x, y, t).\n"
    rows = [
        (
            str(number),
            one.kind,
            " ".join(f"({x:g}, {y:g})" for x, y in one.positions),
            f"{one.rate:.3g} ± {one.sigma:.1g}",
            f"{one.assumed:.3g}",
            f"{one.ratio:.2f}",
            f"{one.z_score:+.1f}",
        )
        for number, one in enumerate(deviations, start=1)
    ]
    headings = ("", "kind", "ancillas (x, y)", "learned", f"in {assumed_model(fit)}", "ratio", "z-score")
    return "\n".join(
        [
            f"## Largest deviations from {assumed_model(fit)}\n",
            "Rates are flips per round of a location class: the mechanisms that flip detectors of the same "
            "ancillas, whatever the round. The z-score is the difference in standard errors. Kinds: "
            + "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
            + ".\n",
            markdown_rows(headings, rows),
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
            "## What the syndromes determine\n",
            f"Of {len(fit.parameters.names)} parameters, {fit.parameters.rank} combinations can be "
            "identified, as sums of rates; the parameters one by one cannot.\n",
            markdown_rows(("combination", "rate"), rows),
            f"{more} more are not shown.\n" if more else "",
        ]
    )


def _drift(drift: DriftSummary, context: ReportContext) -> str:
    count, longest = len(drift.shots), int(drift.shots.max())
    if count < 3:
        blocks = "one block" if count == 1 else f"{count} blocks"
        return f"## Drift\n\nToo few shots to see it: {blocks} of {longest:,} shots.\n"
    mean, error = drift.mean_chi2
    rows = [
        (group, f"{100 * drift.swing(group):.2g} %", f"{100 * drift.sampling_error(group):.2g} %")
        for group in drift.scales
    ]
    headings = (
        "mechanisms",
        "standard deviation of their rates over time, beyond sampling",
        "sampling error of a block",
    )
    lines = [
        "## Drift\n",
        f"{count} blocks of {longest:,} shots. Moments of each against those of all shots: chi² per moment "
        f"{mean:.3f} ± {error:.3f}, 1 where nothing drifts. Detection events over detectors: "
        f"{100 * drift.density.min():.3g} to {100 * drift.density.max():.3g} %.\n",
        markdown_rows(headings, rows),
    ]
    if context.drift_plot:
        lines.append(f"![rates over the shots]({context.drift_plot})\n")
    return "\n".join(lines)


def markdown_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
