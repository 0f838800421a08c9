"""How far decoders' gaps can be trusted, and what post-selection buys, also under noise not made for.

    python -m scripts.benchmarks.confidence.table --out out/confidence [--decoder pymatching ...]
    python -m scripts.benchmarks.confidence.table --out out/confidence --results docs/results

Every decoder decodes fresh shots of each noise, and says how sure it is. Shots in order of their gap are cut
into ten parts of as many shots each: a reliability diagram; its worst part is what the gap is off by. Other
shots, of depolarizing noise alone, fit the factor on the gap that would be best (by cross-entropy, all
distances together): where it is not 1, `gap_scale` of the decoder should change by it. Then the error rates
of the surest 99 and 90 per cent. Chunks are lines of cells.jsonl, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from global_decoders import decode_with_gap
from predecoder.training import EvaluationCase, Noise
from scripts.benchmarks.accuracy.calibration import BINS, Reliability
from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import build_decoder
from sims.plots.style import looks
from sims.statistics import error_rate
from sims.sweeps import GapCounts, decoder_dem

SEEDS = {"fit": 21_000_000, "test": 22_000_000}
FITTED_ON = "depolarizing"
KEPT = (0.99, 0.9)
KEY = ("decoder", "noise", "p", "d", "basis")


@dataclass(frozen=True)
class Flags:
    """Measure reliability of gaps, and error rates of the surest shots."""

    out: Path
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated", "neural-matching")
    weights: str = "fast-matching"
    distance: tuple[int, ...] = (5, 9)
    p: float = 0.006
    si1000_p: float = 0.003
    """Of SI1000, whose measurements fail five times as often."""
    basis: str = "x"
    noise: tuple[Noise, ...] = get_args(Noise)
    shots: int = 32_768
    chunk_shots: int = 4096
    results: Path | None = None
    picture: Path | None = None


@dataclass(frozen=True)
class Cell:
    """A decoder on an experiment."""

    decoder: str
    noise: Noise
    p: float
    d: int
    basis: str


@dataclass(frozen=True)
class Measured:
    """What was counted, of gaps of the value that they favour and of those of predictions."""

    reliability: Reliability = field(
        default_factory=lambda: Reliability(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))
    )
    gaps: GapCounts = field(default_factory=lambda: GapCounts.of(np.zeros(0), np.zeros(0, dtype=bool)))

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.reliability + other.reliability, self.gaps + other.gaps)


def main() -> None:
    """Run every cell to its end, print the table and draw the curves."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    tests: dict[Cell, Measured] = {}
    for decoder in flags.decoder:
        cells = [
            Cell(decoder, noise, flags.si1000_p if noise == "si1000" else flags.p, d, flags.basis)
            for noise, d in product(flags.noise, flags.distance)
        ]
        fitted = sum(
            (_measured(flags, cell, "fit").reliability for cell in cells if cell.noise == FITTED_ON),
            Measured().reliability,
        )
        factor = fitted.best_scale()
        for cell in cells:
            tests[cell] = _measured(flags, cell, "test")
            rows.append(_row(cell, tests[cell], factor))
    print(render(rows))
    if flags.results is not None:
        print("written:", *update_results(flags.results, "confidence", rows, key=KEY, render=render))
    print("drawn:", draw(tests, flags.picture or flags.out))


def _measured(flags: Flags, cell: Cell, part: str) -> Measured:
    """Shots of a cell: those of chunks that are there, and of what is missing."""
    named = build_decoder(cell.decoder, weights=flags.weights, device="cpu", threads=1)
    what = {**vars(cell), **named.identity, "part": part, "chunk_shots": flags.chunk_shots}
    log = flags.out / "cells.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    chunks = [line["counts"] for line in lines if line["cell"] == what]
    total = sum((_from_counts(counts) for counts in chunks), Measured())
    needed = -(-flags.shots // flags.chunk_shots)
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
        found = Measured(Reliability.of(gap[:, 0], wrong), GapCounts.of(gap[:, 0], wrong))
        with log.open("a") as file:
            file.write(json.dumps({"cell": what, "counts": _to_counts(found)}) + "\n")
        total += found
    kept, errors = total.gaps.kept(1.0)
    print(f"{cell} {part}: {kept:,} shots, {errors} errors", flush=True)
    return total


def _to_counts(measured: Measured) -> dict[str, list[int]]:
    arrays = {
        "shots": measured.reliability.shots,
        "wrong": measured.reliability.wrong,
        "gap_right": measured.gaps.right,
        "gap_wrong": measured.gaps.wrong,
    }
    return {name: array.tolist() for name, array in arrays.items()}


def _from_counts(counts: dict[str, list[int]]) -> Measured:
    shots, wrong, gap_right, gap_wrong = (np.array(values, dtype=np.int64) for values in counts.values())
    return Measured(Reliability(shots, wrong), GapCounts(gap_right, gap_wrong))


def _row(cell: Cell, found: Measured, factor: float) -> dict[str, Any]:
    shots, errors = found.gaps.kept(1.0)
    return {
        **vars(cell),
        **{"shots": shots, "errors": errors, "factor": factor},
        **{"parts": found.reliability.parts(1.0), "worst": found.reliability.worst(1.0)},
        "scaled_worst": found.reliability.worst(factor),
        "kept": [found.gaps.kept(fraction) for fraction in KEPT],
    }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    reliability = ("said / seen in the least sure tenth", "off by", "factor", "off by, with it")
    kept = (f"errors / kept shots at {fraction:g} (LER ratio)" for fraction in KEPT)
    return markdown_table((*KEY, "errors / shots", *reliability, *kept), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    _, predicted, observed = row["parts"][0]
    rate = row["errors"] / row["shots"]
    return (
        *(row[name] for name in KEY),
        f"{row['errors']:,} / {row['shots']:,}",
        f"{predicted:.3f} / {observed:.3f}",
        f"{row['worst']:.3f}",
        f"{row['factor']:.2f}",
        f"{row['scaled_worst']:.3f}",
        *(f"{errors:,} / {shots:,} ({errors / shots / rate:.3f})" for shots, errors in row["kept"]),
    )


def draw(tests: dict[Cell, Measured], folder: Path) -> Path:
    """Two rows of panels, one per noise and distance: reliability, and error rates of what is kept."""
    panels = list(dict.fromkeys((cell.noise, cell.d) for cell in tests))
    figure = Figure(figsize=(2.6 * len(panels), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(panels), squeeze=False, sharey="row")
    curves = looks([(name, name) for name in dict.fromkeys(cell.decoder for cell in tests)])
    for column, (noise, d) in enumerate(panels):
        above, below = grid[0][column], grid[1][column]
        above.plot([1e-4, 0.5], [1e-4, 0.5], color="0.7", linewidth=0.8)
        for cell, found in tests.items():
            if (cell.noise, cell.d) != (noise, d):
                continue
            style = curves[cell.decoder].as_arguments()
            seen = [part for part in found.reliability.parts(1.0) if part[2] > 0]
            spans = [error_rate(round(rate * shots), shots) for shots, _, rate in seen]
            above.errorbar(
                [said for _, said, _ in seen],
                [span.best for span in spans],
                yerr=np.array([(s.best - s.low, s.high - s.best) for s in spans]).reshape(-1, 2).T,
                **style,
                markersize=3,
                linewidth=0.9,
            )
            kept, wrong = found.gaps.curve()
            shown = np.flatnonzero(wrong > 0)
            below.plot(1 - kept[shown] / kept[0], wrong[shown] / kept[shown], color=style["color"])
        above.set(xscale="log", yscale="log", xlim=(1e-4, 0.5), title=f"{noise}, d = {d}")
        above.set_xlabel("error probability said")
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
