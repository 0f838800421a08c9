"""Whether `neural-matching`'s gap is a probability: how often it errs, beside how often its gap says it does.

    python -m scripts.benchmarks.accuracy.calibration --out out/calibration [--weights fast-matching]
    python -m scripts.benchmarks.accuracy.calibration --out out/calibration --results docs/results

A gap of g nats says that the prediction is wrong with probability 1 / (1 + exp(|g|)). Shots are put in order
of it, and cut into ten parts of as many shots each: a reliability diagram. Half of the shots, of other seeds,
fit one factor on the gap (by cross-entropy, all cells of the weights together), which goes into the weights'
`[policies] gap_scale`; the other half says by how much each cell's worst part is off, with and without it.
Chunks are lines of cells.jsonl, so that a killed run goes on where it was. With --results, the rows go into
calibration.json and calibration.md of that folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro
from scipy.optimize import minimize_scalar
from scipy.special import expit

from predecoder import CompiledNeuralMatching, NeuralMatchingDecoder, resolve_weights
from predecoder.training import EvaluationCase, Noise
from scripts.benchmarks.results import markdown_table, update_results

SEEDS = {"fit": 11_000_000, "test": 12_000_000}
LARGEST, BINS = 25.0, 500
"""Nats up to which gaps are told apart, and into how many bins."""
PARTS = 10
KEY = ("weights", "noise", "p", "d", "basis")
_CENTRES = (np.arange(BINS) + 0.5) * (LARGEST / BINS)


@dataclass(frozen=True)
class Flags:
    """Measure how well the gap is calibrated."""

    out: Path
    weights: tuple[str, ...] = ("accurate-matching", "fast-matching", "realtime-matching")
    distance: tuple[int, ...] = (5, 9)
    p: tuple[float, ...] = (0.006,)
    basis: tuple[str, ...] = ("x",)
    noise: tuple[Noise, ...] = get_args(Noise)
    shots: int = 32_768
    chunk_shots: int = 4096
    threads: int = 1
    results: Path | None = None


@dataclass(frozen=True)
class Reliability:
    """Shots, and those decided wrongly, by |gap|: int64 `(BINS,)` each."""

    shots: np.ndarray
    wrong: np.ndarray

    @classmethod
    def of(cls, gap: np.ndarray, flipped: np.ndarray) -> Reliability:
        """Of gaps `(B,)` in nats, positive where the prediction is no flip, and true flips, bool `(B,)`."""
        place = np.minimum(np.abs(gap) * (BINS / LARGEST), BINS - 1).astype(int)
        wrong = (gap < 0) != flipped
        return cls(np.bincount(place, minlength=BINS), np.bincount(place[wrong], minlength=BINS))

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.shots + other.shots, self.wrong + other.wrong)

    def cross_entropy(self, scale: float) -> float:
        """Mean cross-entropy in nats of being wrong, the gap times `scale` being its log-odds."""
        right = np.log1p(np.exp(-scale * _CENTRES))
        losses = (self.shots - self.wrong) * right + self.wrong * (right + scale * _CENTRES)
        return float(losses.sum() / max(1, self.shots.sum()))

    def best_scale(self) -> float:
        """The factor of least cross-entropy, 0.1 to 10."""
        found = minimize_scalar(
            lambda log_scale: self.cross_entropy(np.exp(log_scale)),
            bounds=(np.log(0.1), np.log(10)),
            method="bounded",
        )
        return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]

    def parts(self, scale: float) -> list[tuple[int, float, float]]:
        """Shots, predicted and observed error probability of ten parts, from unsure to sure.

        A bin is never cut, so that parts have about as many shots each; where most shots are in one bin,
        there are fewer.
        """
        part = np.minimum(np.cumsum(self.shots) - self.shots // 2, self.shots.sum() - 1)
        part = part * PARTS // max(1, self.shots.sum())
        predicted = self.shots * expit(-scale * _CENTRES)
        sums = [np.bincount(part, weights=a, minlength=PARTS) for a in (self.shots, predicted, self.wrong)]
        return [(int(n), float(p / n), float(w / n)) for n, p, w in zip(*sums, strict=True) if n]

    def worst(self, scale: float) -> float:
        """What the worst part's predicted probability is off by."""
        return max(abs(predicted - observed) for _, predicted, observed in self.parts(scale))


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for weights in flags.weights:
        cells = list(product(flags.noise, flags.p, flags.distance, flags.basis))
        measured = {
            part: {cell: _measured(flags, weights, cell, part) for cell in cells} for part in ("fit", "test")
        }
        scale = sum(list(measured["fit"].values())[1:], measured["fit"][cells[0]]).best_scale()
        sha256 = resolve_weights(weights).sha256
        for cell in cells:
            rows.append({"weights": weights, "sha256": sha256} | _row(cell, measured["test"][cell], scale))
    print(render(rows))
    if flags.results is not None:
        print("written:", *update_results(flags.results, "calibration", rows, key=KEY, render=render))


def _measured(flags: Flags, weights: str, cell: tuple[Noise, float, int, str], part: str) -> Reliability:
    """Half of a cell's shots: those of chunks that are there, and of what is missing."""
    noise, p, distance, basis = cell
    what = {"sha256": resolve_weights(weights).sha256, "noise": noise, "p": p, "d": distance, "basis": basis}
    what |= {"part": part, "chunk_shots": flags.chunk_shots}
    log = flags.out / "cells.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    chunks = [line for line in lines if {key: line[key] for key in what} == what]
    total = Reliability(np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64))
    for chunk in chunks:
        total += Reliability(np.array(chunk["shots"]), np.array(chunk["wrong"]))
    needed = -(-flags.shots // 2 // flags.chunk_shots)
    if len(chunks) >= needed:
        return total
    case = EvaluationCase(distance, p, basis, flags.chunk_shots, perfect_last_round=True, noise=noise)
    circuit = case.circuit()
    decoder = _compiled(circuit, weights, flags.threads)
    for number in range(len(chunks), needed):
        packed, truth = circuit.compile_detector_sampler(
            seed=SEEDS[part] + 10_000 * distance + number
        ).sample(flags.chunk_shots, separate_observables=True, bit_packed=True)
        found = Reliability.of(decoder.gap(packed), (truth[:, 0] & 1).astype(bool))
        with log.open("a") as file:
            counts = {"shots": found.shots.tolist(), "wrong": found.wrong.tolist()}
            file.write(json.dumps(what | counts) + "\n")
        total += found
    print(f"{weights} {cell} {part}: {total.shots.sum():,} shots, {total.wrong.sum()} errors", flush=True)
    return total


def _compiled(circuit: Any, weights: str, threads: int) -> CompiledNeuralMatching:
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    decoder = NeuralMatchingDecoder(weights=weights, device="cpu", threads=threads)
    compiled = decoder.compile_decoder_for_dem(dem=dem)
    if not isinstance(compiled, CompiledNeuralMatching):
        raise ValueError(f"the weights {weights} are not used on this experiment; leave it out")
    return compiled


def _row(cell: tuple[Noise, float, int, str], found: Reliability, scale: float) -> dict[str, Any]:
    noise, p, distance, basis = cell
    return {
        **{"noise": noise, "p": p, "d": distance, "basis": basis},
        **{"shots": int(found.shots.sum()), "errors": int(found.wrong.sum()), "scale": scale},
        **{"parts": found.parts(1.0), "scaled_parts": found.parts(scale)},
        **{"worst": found.worst(1.0), "scaled_worst": found.worst(scale)},
    }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = (*KEY, "shots", "errors", "said / seen in the least sure tenth", "off by, at worst")
    return markdown_table((*columns, "factor fitted", "off by, with it"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    _, predicted, observed = row["parts"][0]
    return (
        *(row[name] for name in KEY),
        *(f"{row[name]:,}" for name in ("shots", "errors")),
        f"{predicted:.3f} / {observed:.3f}",
        f"{row['worst']:.3f}",
        f"{row['scale']:.2f}",
        f"{row['scaled_worst']:.3f}",
    )


if __name__ == "__main__":
    main()
