"""How far decoders' gaps can be trusted, and what post-selection buys, also under noise not made for.

    python -m scripts.benchmarks.confidence.table --out out/confidence [--decoder pymatching ...]
    python -m scripts.benchmarks.confidence.table --out out/confidence --results docs/results

Every decoder decodes fresh shots of each noise, and says how sure it is. Shots in order of their gap are cut
into ten parts of as many shots each: a reliability diagram; its worst part is what the gap is off by. Other
shots of the same experiment fit the straight line that makes gaps log-odds, as `decode --calibrate` does by
shots of the DEM; and those of depolarizing noise alone, all distances together, fit the factor on the gap
that would be best there: what `gap_scale` of a decoder, or of weights, should change by. Then the error rates
of the surest 99 and 90 per cent, which neither changes. Chunks are lines of cells.jsonl, so that a killed run
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from global_decoders import GapCalibration, decode_with_gap
from predecoder.training import EvaluationCase, Noise
from scripts.benchmarks.confidence.reliability import (
    Part,
    best_factor,
    fitted_line,
    parts_by_gap,
    worst_part,
)
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import NEURAL, build_decoder
from sims.plots.style import looks
from sims.statistics import error_rate
from sims.sweeps import GapCounts, decoder_dem

SEEDS = {"fit": 21_000_000, "test": 22_000_000}
FACTOR_FITTED_ON = "depolarizing"
KEPT = (0.99, 0.9)
KEY = ("decoder", "weights", "noise", "p", "d", "basis")


@dataclass(frozen=True)
class Flags:
    """Measure reliability of gaps, and error rates of the surest shots."""

    out: Path
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated", "neural-matching")
    weights: tuple[str, ...] = ("fast-matching", "realtime-matching", "accurate-matching")
    """Of `neural-matching`, one after another."""
    distance: tuple[int, ...] = (5, 9)
    p: float = 0.006
    si1000_p: float = 0.003
    """Of SI1000, whose measurements fail five times as often."""
    basis: str = "x"
    noise: tuple[Noise, ...] = get_args(Noise)
    shots: int = 65_536
    """At least so many; all that were decoded before count."""
    fit_shots: int = 32_768
    """At least so many, of other seeds, fit the line."""
    chunk_shots: int = 4096
    results: Path | None = None
    picture: Path | None = None


@dataclass(frozen=True)
class Cell:
    """A decoder on an experiment; no weights where it has none."""

    decoder: str
    weights: str
    noise: Noise
    p: float
    d: int
    basis: str


def main() -> None:
    """Run every cell to its end, print the table and draw the curves."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    cells = list(_cells_of(flags))
    fits = {cell: _measured(flags, cell, "fit") for cell in cells}
    tests = {cell: _measured(flags, cell, "test") for cell in cells}
    lines = {cell: fitted_line(counts) for cell, counts in fits.items()}
    rows = [_row(cell, tests[cell], lines[cell], _factor(cell, fits)) for cell in cells]
    print(render(rows))
    if flags.results is not None:
        print("written:", *update_results(flags.results, "confidence", rows, key=KEY, render=render))
    print("drawn:", draw(tests, lines, flags.picture or flags.out))


def _cells_of(flags: Flags) -> Iterator[Cell]:
    for decoder in flags.decoder:
        for weights in flags.weights if decoder in NEURAL else ("",):
            for noise, d in product(flags.noise, flags.distance):
                yield Cell(
                    decoder, weights, noise, flags.si1000_p if noise == "si1000" else flags.p, d, flags.basis
                )


def _measured(flags: Flags, cell: Cell, part: str) -> GapCounts:
    """Shots of a cell: those of chunks that are there, and of what is missing."""
    named = build_decoder(cell.decoder, weights=cell.weights or "default", device="cpu", threads=1)
    of = {name: value for name, value in vars(cell).items() if name != "weights"}  # the hash in its place
    what = {**of, **named.identity, "part": part, "chunk_shots": flags.chunk_shots}
    log = flags.out / "cells.jsonl"
    chunks = [line["counts"] for line in read_lines(log) if line["cell"] == what]
    total = GapCounts.of(np.zeros(0), np.zeros(0, dtype=bool))
    for counts in chunks:
        total += GapCounts(np.array(counts["right"]), np.array(counts["wrong"]))
    needed = -(-(flags.shots if part == "test" else flags.fit_shots) // flags.chunk_shots)
    if len(chunks) >= needed:
        return total
    case = EvaluationCase(
        cell.d, cell.p, cell.basis, flags.chunk_shots, perfect_last_round=True, noise=cell.noise
    )
    circuit = case.circuit()
    compiled = named.compiled(decoder_dem(circuit))
    for number in range(len(chunks), needed):
        packed, flips = circuit.compile_detector_sampler(seed=SEEDS[part] + 10_000 * cell.d + number).sample(
            flags.chunk_shots, separate_observables=True, bit_packed=True
        )
        predictions, gap = decode_with_gap(compiled, packed)
        wrong = (predictions != flips).any(axis=1)
        found = GapCounts.of(gap[:, 0], wrong)
        counts = {"right": found.right.tolist(), "wrong": found.wrong.tolist()}
        add_lines(log, {"cell": what, "counts": counts})
        total += found
    kept, errors = total.kept(1.0)
    print(f"{cell} {part}: {kept:,} shots, {errors} errors", flush=True)
    return total


def _factor(cell: Cell, fits: Mapping[Cell, GapCounts]) -> float:
    """The best factor on the gaps of a decoder under the noise that it is made for, distances together."""
    alike = [
        counts
        for other, counts in fits.items()
        if (other.decoder, other.weights, other.noise) == (cell.decoder, cell.weights, FACTOR_FITTED_ON)
    ]
    return best_factor(sum(alike[1:], alike[0])) if alike else 1.0


def _row(cell: Cell, found: GapCounts, line: GapCalibration, factor: float) -> dict[str, Any]:
    shots, errors = found.kept(1.0)
    gap = found.middles
    parts = {"parts": gap, "scaled_parts": factor * gap, "calibrated_parts": line(gap)}
    return {
        **vars(cell),
        **{"shots": shots, "errors": errors, "factor": factor, "line": asdict(line)},
        **{name: [asdict(part) for part in parts_by_gap(found, odds)] for name, odds in parts.items()},
        "kept": [found.kept(fraction) for fraction in KEPT],
    }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    reliability = (
        "off by",
        "factor",
        "off by, with it",
        "line",
        "off by ± error, on it",
        "said / seen there",
    )
    kept = (f"errors / kept shots at {fraction:g} (LER ratio)" for fraction in KEPT)
    return markdown_table((*KEY, "errors / shots", *reliability, *kept), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    names = ("parts", "scaled_parts", "calibrated_parts")
    raw, scaled, worst = (worst_part([Part(**part) for part in row[name]]) for name in names)
    line, rate = row["line"], row["errors"] / row["shots"]
    return (
        *(row[name] for name in KEY),
        f"{row['errors']:,} / {row['shots']:,}",
        *(f"{raw.off:.3f}", f"{row['factor']:.2f}", f"{scaled.off:.3f}"),
        f"{line['slope']:.2f} g {line['offset']:+.2f} ({line['errors']:,} errors)",
        f"{worst.off:.3f} ± {worst.error:.3f}",
        f"{worst.said:.3f} / {worst.seen:.3f}",
        *(f"{errors:,} / {shots:,} ({errors / shots / rate:.3f})" for shots, errors in row["kept"]),
    )


def _curve(cell: Cell) -> str:
    return f"{cell.decoder} {cell.weights}".strip()


def draw(tests: dict[Cell, GapCounts], lines: dict[Cell, GapCalibration], folder: Path) -> Path:
    """One column of panels per noise and distance: reliability on the line, error rates of what is kept."""
    panels = list(dict.fromkeys((cell.noise, cell.d) for cell in tests))
    figure = Figure(figsize=(2.6 * len(panels), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(panels), squeeze=False, sharey="row")
    curves = looks([(name, name) for name in dict.fromkeys(_curve(cell) for cell in tests)])
    for column, (noise, d) in enumerate(panels):
        above, below = grid[0][column], grid[1][column]
        above.plot([1e-4, 0.5], [1e-4, 0.5], color="0.7", linewidth=0.8)
        for cell, found in tests.items():
            if (cell.noise, cell.d) != (noise, d):
                continue
            style = curves[_curve(cell)].as_arguments()
            seen = [part for part in parts_by_gap(found, lines[cell](found.middles)) if part.wrong]
            spans = [error_rate(part.wrong, part.shots) for part in seen]
            above.errorbar(
                [part.said for part in seen],
                [span.best for span in spans],
                yerr=np.array([(s.best - s.low, s.high - s.best) for s in spans]).reshape(-1, 2).T,
                **style,
                markersize=3,
                linewidth=0.9,
            )
            kept, wrong = found.curve()
            shown = np.flatnonzero(wrong > 0)
            below.plot(1 - kept[shown] / kept[0], wrong[shown] / kept[shown], color=style["color"])
        above.set(xscale="log", yscale="log", xlim=(1e-4, 0.5), title=f"{noise}, d = {d}")
        above.set_xlabel("error probability said, on the line")
        below.set(yscale="log", xlabel="fraction discarded")
        below.set_xscale("symlog", linthresh=1e-3)
        below.set_xlim(0, 1)
    grid[0][0].set_ylabel("seen, by tenths")
    grid[1][0].set_ylabel("LER of kept shots")
    for name, look in curves.items():
        grid[0][0].plot([], [], label=name, **look.as_arguments(), markersize=3, linewidth=0.9)
    grid[0][0].legend(fontsize="x-small", frameon=False)
    path = folder / "confidence.png"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=90)
    return path


if __name__ == "__main__":
    main()
