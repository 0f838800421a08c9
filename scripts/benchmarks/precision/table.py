"""What bfloat16 and int8 cost in logical errors, against float32 on the same shots, as a page of results.

    python -m scripts.benchmarks.precision.table --out out/precision [--distance 5 9 13]

Every weights file decodes the same shots by `neural-matching` in each precision that it has. A cell runs in
chunks, each some lines of cells.jsonl in --out, so that a killed run goes on where it was. After every chunk
its cells take their places in docs/results/precision.json, and in the table of precision.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from predecoder import NeuralMatchingDecoder, load_bundle
from predecoder.inference import Precision
from qec import Basis, depolarizing, memory_circuit, ratio_of_errors
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "results" / "precision.md"
SEED = 8_000_000
P = 0.006
KEY = ("weights", "basis", "distance", "precision")


@dataclass(frozen=True)
class Flags:
    """Compare precisions on the same shots."""

    out: Path
    weights: tuple[str, ...] = ("accurate", "fast")
    distance: tuple[int, ...] = (5, 9, 13)
    basis: tuple[Basis, ...] = ("x",)
    precision: tuple[Precision, ...] = ("bfloat16", "int8")
    """Which ones, of those that the weights have."""
    shots: int = 20_480
    """Of every cell, in all."""
    chunk_shots: int = 2048


@dataclass(frozen=True)
class Counts:
    """Errors of float32 and of another precision on the same shots; `only` are discordant ones."""

    shots: int
    float32: int
    other: int
    only_float32: int
    only_other: int
    differ: int
    """Shots whose predictions differ."""

    def __add__(self, more: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(vars(self).values(), vars(more).values(), strict=True)))

    @property
    def ratio(self) -> str:
        """LER(other) / LER(float32) with its 95 % interval, of the discordant shots."""
        if not (self.float32 and self.other):
            return "too few errors"
        discordant = self.only_float32 + self.only_other
        ratio = ratio_of_errors(self.other, self.float32, variance=discordant)
        return f"{ratio.best:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def main() -> None:
    """Run every cell to its end and write the page."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "cells.jsonl"
    for distance, basis, weights in product(flags.distance, flags.basis, flags.weights):
        bundle = load_bundle(weights)
        others: list[Precision] = [
            precision
            for precision in flags.precision
            if precision == "bfloat16" or bundle.network.int8 != "none"
        ]
        cell = {"weights": weights, "sha256": bundle.file.sha256, "distance": distance, "basis": basis}
        while True:
            done = [row for row in read_lines(log) if row["cell"] == cell]
            chunk = len({row["chunk"] for row in done})
            if chunk * flags.chunk_shots >= flags.shots:
                break
            found = _chunk(cell, others, flags.chunk_shots, chunk)
            lines = (
                {"cell": cell, "chunk": chunk, "precision": other, "counts": vars(counts)}
                for other, counts in found.items()
            )
            add_lines(log, *lines)
            update_results(PAGE.parent, PAGE.stem, _cells(read_lines(log)), key=KEY, render=render)


def _chunk(
    cell: dict[str, Any], others: Sequence[Precision], shots: int, chunk: int
) -> dict[Precision, Counts]:
    distance, basis = cell["distance"], cell["basis"]
    circuit = memory_circuit(
        distance=distance, rounds=distance, basis=basis, noise=depolarizing(P), perfect_last_round=True
    )
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    first = SEED + 1_000_000 * (basis == "z") + 1000 * distance
    sampler = circuit.compile_detector_sampler(seed=first + chunk)
    packed, truth = sampler.sample(shots, separate_observables=True, bit_packed=True)

    def predictions(precision: Precision) -> np.ndarray:
        decoder = NeuralMatchingDecoder(weights=cell["weights"], device="cpu", precision=precision, threads=1)
        compiled = decoder.compile_decoder_for_dem(dem=dem)
        return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)

    exact = predictions("float32")
    return {other: compared(exact, predictions(other), truth) for other in others}


def compared(exact: np.ndarray, other: np.ndarray, truth: np.ndarray) -> Counts:
    """Count errors of two predictions of the same shots, packed."""
    wrong, other_wrong = ((p != truth).any(axis=1) for p in (exact, other))
    return Counts(
        shots=len(truth),
        float32=int(wrong.sum()),
        other=int(other_wrong.sum()),
        only_float32=int((wrong & ~other_wrong).sum()),
        only_other=int((other_wrong & ~wrong).sum()),
        differ=int((exact != other).any(axis=1).sum()),
    )


def _cells(rows: list[dict]) -> list[dict[str, Any]]:
    """Chunks added up, as rows of results."""
    cells: dict[tuple[str, ...], Counts] = {}
    for row in rows:
        key = (json.dumps(row["cell"]), row["precision"])
        counts = Counts(**row["counts"])
        cells[key] = cells[key] + counts if key in cells else counts
    return [json.loads(cell) | {"precision": of, **vars(counts)} for (cell, of), counts in cells.items()]


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = (
        *("weights, p = 0.006", "basis", "d", "shots", "errors in float32", "in", "errors"),
        *("only float32 wrong", "only it wrong", "LER ratio to float32", "predictions that differ"),
    )
    lines = []
    for row in sorted(rows, key=lambda row: [row[name] for name in KEY]):
        counts = Counts(**{field.name: row[field.name] for field in fields(Counts)})
        lines.append(
            [
                *(row["weights"], row["basis"], row["distance"], f"{counts.shots:,}", counts.float32),
                *(row["precision"], counts.other, counts.only_float32, counts.only_other),
                *(counts.ratio, counts.differ),
            ]
        )
    return markdown_table(columns, lines)


if __name__ == "__main__":
    main()
