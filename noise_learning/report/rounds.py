"""What several numbers of rounds said together, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noise_learning.estimators.fit import NoiseFit
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.round_trend import RoundTrend
from noise_learning.estimators.stationary import StationaryNoise
from noise_learning.estimators.unmodelled import UnmodelledTest
from noise_learning.report.markdown import markdown_rows

__all__ = ["MeasuredRounds", "render_rounds_report"]

_SIGNIFICANT = 4.0  # standard errors of a trend beyond which it is called one


@dataclass(frozen=True)
class MeasuredRounds:
    """One number of rounds that was learned from.

    Attributes:
        rounds: how many.
        source: where the shots are from.
        file: name of its DEM.
        fit: what was learned.
        density: detection events over detectors.
        test: for correlations that no mechanism explains.
    """

    rounds: int
    source: str
    file: str
    fit: NoiseFit
    density: float
    test: UnmodelledTest

    @classmethod
    def of(cls, rounds: int, source: str, file: str, data: LearningData, fit: NoiseFit) -> MeasuredRounds:
        """Test the data that were fitted."""
        density = float(np.nanmean(data.detectors.rate))
        return cls(rounds, source, file, fit, density, UnmodelledTest.of(data, data.whole))


def render_rounds_report(
    noise: StationaryNoise,
    measured: Sequence[MeasuredRounds],
    predicted: Mapping[int, tuple[str, NoiseFit]],
    *,
    selection: str,
) -> str:
    """The whole report.

    Args:
        predicted: by number of rounds, the name of the DEM and the fit.
        selection: which shots were used, in words.
    """
    parts = [
        "# Learned noise of several numbers of rounds\n",
        "A rate is shared by all mechanisms that are each other's translations in time, in all experiments; "
        "the first and the last detectors of an ancilla have rates of their own. Rounds and experiments "
        f"depart from it as far as their shots ask for: by {noise.scatter:.0%}, relative to it.\n",
        _experiments(measured, selection),
        _predicted(predicted),
        _notes(measured),
        _correlations(measured),
        _trends(noise.trends),
    ]
    return "\n".join(part for part in parts if part)


def _experiments(measured: Sequence[MeasuredRounds], selection: str) -> str:
    rows = [
        (
            str(one.rounds),
            one.source,
            f"{one.fit.shots:,.0f}",
            f"{100 * one.density:.3g} %",
            f"{one.fit.chi2_per_row:.3g}",
            one.file,
        )
        for one in measured
    ]
    headings = ("rounds", "folders", "shots", "detection events over detectors", "chi² per equation", "DEM")
    return f"## Learned from ({selection})\n\n{markdown_rows(headings, rows)}"


def _predicted(predicted: Mapping[int, tuple[str, NoiseFit]]) -> str:
    if not predicted:
        return ""
    rows = [(str(rounds), file, "; ".join(fit.notes)) for rounds, (file, fit) in sorted(predicted.items())]
    return f"## Predicted\n\n{markdown_rows(('rounds', 'DEM', 'note'), rows)}"


def _notes(measured: Sequence[MeasuredRounds]) -> str:
    of: dict[str, list[int]] = {}
    for one in measured:
        for note in one.fit.notes:
            of.setdefault(note, []).append(one.rounds)
    lines = [
        f"- {note}" if len(rounds) == len(measured) else f"- {', '.join(map(str, rounds))} rounds: {note}"
        for note, rounds in of.items()
    ]
    return "\n".join(["## Notes on the data\n", *lines, ""])


def _correlations(measured: Sequence[MeasuredRounds]) -> str:
    found = [one for one in measured if one.test.found]
    rows = [
        (
            str(one.rounds),
            f"{one.test.mean_square:.3g}",
            f"{one.test.limit:.3g}",
            "yes" if one in found else "no",
        )
        for one in measured
    ]
    verdict = (
        f"Seen in {len(found)} of {len(measured)} experiments: something flips detectors together that no "
        "mechanism of the circuit does, such as leakage or crosstalk. No DEM of these mechanisms has them."
        if found
        else "Not seen."
    )
    headings = ("rounds", "mean square", "limit", "beyond it")
    return "\n".join(
        [
            "## Correlations that no mechanism explains\n",
            "Attenuations of detector sets that are no mechanism's, squared, in units of their sampling "
            f"variance. {verdict}\n",
            markdown_rows(headings, rows),
        ]
    )


def _trends(trends: Mapping[int, RoundTrend]) -> str:
    if not trends:
        return ""
    rows = [
        (str(size), f"{100 * one.slope:+.2f} %", f"{100 * one.sigma:.2f} %")
        for size, one in sorted(trends.items())
    ]
    grows = [
        one.slope > 0
        for size, one in trends.items()
        if size > 1 and one.sigma * _SIGNIFICANT < abs(one.slope)
    ]
    verdict = "No trend beyond sampling."
    if grows:
        way = "grow" if all(grows) else "fall" if not any(grows) else "change"
        verdict = (
            f"Rates {way} with the round"
            + (", as where leakage builds up" if all(grows) else "")
            + ". The DEMs keep them equal: on Google's device rates on a straight line decoded no better "
            "(docs/results/noise_learning.md)."
        )
    return "\n".join(
        [
            "## Change from round to round\n",
            f"A straight line through the rates in the middle, relative to their mean. {verdict} Sets of one "
            "detector take up what the others' equations miss, so that their slope says less.\n",
            markdown_rows(("detectors of a set", "change per round", "standard error"), rows),
        ]
    )
