"""`qecpipe fit`: error suppression Λ and thresholds from the CSVs of sweeps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import sinter
import tyro

from qec import output_file
from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_file
from sims.cli.parse_flags import parse_flags
from sims.statistics import Estimate
from sims.sweeps.labels import check_metadata, curve_label
from sims.sweeps.manifest import refuse_twice
from sims.sweeps.results_csv import merge_results, read_results

if TYPE_CHECKING:
    from rich.table import Table

    from sims.fits import Counts, Goodness, Suppression, Threshold

RESUME_HINT = "run the same command again"
UNLIKELY = 0.01
"""p-value below which a model is said not to hold."""


@dataclass(frozen=True)
class FitFlags:
    """Fit Λ at every physical error rate, and the threshold, for every decoder of a sweep.

    Λ says by how much the error rate of a round falls when the distance grows by two. The threshold is a
    finite-size-scaling fit close to the crossing of the curves; --p keeps error rates far from it out.
    """

    csv: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("out/sweep/results.csv"),)
    """CSV files of `qecpipe sweep`; rows of one task are added."""
    p: tuple[float, ...] = ()
    """Physical error rates to use; left out: all."""
    decoder: tuple[str, ...] = ()
    """Decoders to fit; left out: all."""
    out: Path | None = None
    """JSON file for the fits, with every interval and p-value; left out: none is written."""


@dataclass(frozen=True)
class _Curve:
    """One decoder in one basis, over distances and error rates."""

    label: str
    basis: str
    counts: tuple[Counts, ...]


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    flags = parse_flags(FitFlags, "fit", arguments)
    check_inputs(*flags.csv)
    refuse_twice(flags.csv)
    if not flags.csv:
        raise ValueError("no results file was given; give at least one CSV of qecpipe sweep")
    if flags.out is not None:
        check_output_file(flags.out, inputs=flags.csv)
    stats = _chosen(merge_results(read_results(path) for path in flags.csv), flags)
    from sims.fits import fit_suppression, fit_threshold

    curves = list(_curves(stats))
    notes: list[str] = []
    suppressions = [
        (curve, p, fit)
        for curve in curves
        for p in sorted({c.p for c in curve.counts})
        if (fit := _fitted(fit_suppression, curve, p, notes)) is not None
    ]
    thresholds = [
        (curve, fit) for curve in curves if (fit := _fitted(fit_threshold, curve, None, notes)) is not None
    ]
    console = make_console()
    for table in _tables(suppressions, thresholds):
        console.print(table)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)
    if flags.out is not None:
        with output_file(flags.out) as unfinished:
            unfinished.write_text(json.dumps(_as_json(suppressions, thresholds, notes), indent=2) + "\n")
        console.print(f"fits: {flags.out}")
    return 0


def _chosen(stats: list[sinter.TaskStats], flags: FitFlags) -> list[sinter.TaskStats]:
    """Rows that kept shots, of the decoders and error rates that were asked for."""
    stats = [one for one in stats if one.shots > one.discards]
    check_metadata(stats)
    for flag, wanted, of in (
        ("--decoder", flags.decoder, lambda one: one.decoder),
        ("--p", flags.p, lambda one: one.json_metadata["p"]),
    ):
        known = sorted({of(one) for one in stats})
        absent = [value for value in wanted if value not in known]
        if absent:
            there = ", ".join(map(str, known)) or "none"
            raise ValueError(f"{flag} {absent[0]} has no rows; the files have {there}")
        stats = [one for one in stats if not wanted or of(one) in wanted]
    if not stats:
        raise ValueError("there are no shots to fit; run a sweep first")
    return stats


def _curves(stats: list[sinter.TaskStats]) -> Iterator[_Curve]:
    from sims.fits import Counts

    label = curve_label(stats)
    groups: dict[tuple[str, str], list[Counts]] = {}
    for one in stats:
        meta = one.json_metadata
        counts = Counts(meta["d"], meta["rounds"], float(meta["p"]), one.errors, one.shots - one.discards)
        groups.setdefault((label(one), meta["basis"]), []).append(counts)
    for (name, basis), counts in sorted(groups.items()):
        yield _Curve(name, basis, tuple(counts))


def _fitted(fit: Callable[[Iterable[Counts]], Any], curve: _Curve, p: float | None, notes: list[str]) -> Any:
    """What `fit` finds, or None, and a note that says why there is nothing."""
    try:
        return fit(c for c in curve.counts if p is None or c.p == p)
    except ValueError as error:
        at = "" if p is None else f", p = {p:g}"
        notes.append(f"{curve.label}, {curve.basis}{at}: {error}")
        return None


def _tables(
    suppressions: list[tuple[_Curve, float, Suppression]], thresholds: list[tuple[_Curve, Threshold]]
) -> Iterator[Table]:
    from rich.table import Table

    if suppressions:
        table = Table("decoder", "basis", "p", "distances", "Λ (95 %)", "fit", title="error suppression")
        for curve, p, fit in suppressions:
            distances = " ".join(map(str, fit.per_round))
            table.add_row(
                curve.label, curve.basis, f"{p:g}", distances, _shown(fit.factor), _holds(fit.goodness)
            )
        yield table
    if thresholds:
        table = Table("decoder", "basis", "threshold (95 %)", "ν (95 %)", "fit", title="threshold")
        for curve, fit in thresholds:
            table.add_row(curve.label, curve.basis, _shown(fit.p), _shown(fit.exponent), _holds(fit.goodness))
        yield table


def _shown(value: Estimate) -> str:
    return f"{value.best:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _holds(goodness: Goodness) -> str:
    if not goodness.freedom:
        return "as many parameters as counts"
    said = f"p-value {goodness.p_value:.2g}"
    return said if goodness.p_value >= UNLIKELY else f"{said}: does not hold"


def _as_json(
    suppressions: list[tuple[_Curve, float, Suppression]],
    thresholds: list[tuple[_Curve, Threshold]],
    notes: list[str],
) -> dict[str, Any]:
    def plain(fit: Suppression | Threshold) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(fit), default=str), parse_constant=_no_number) | {
            "p_value": fit.goodness.p_value
        }

    return {
        "suppression": [
            {"decoder": curve.label, "basis": curve.basis, "physical_error_rate": p} | plain(fit)
            for curve, p, fit in suppressions
        ],
        "threshold": [{"decoder": c.label, "basis": c.basis} | plain(fit) for c, fit in thresholds],
        "not_fitted": notes,
    }


def _no_number(_: str) -> None:
    """JSON has no infinity: an interval's end that lies there is null."""
