"""What bfloat16 and int8 cost in logical errors, against float32 on the same shots, as a page of results.

    python -m scripts.benchmarks.precision.table --out out/precision [--distance 5 9 13]

Every weights file decodes the same shots by `neural-matching` in each precision that it has. A cell runs in
chunks, each some lines of cells.jsonl in --out, so that a killed run goes on where it was; the page and its
numbers (docs/results/precision.md and .json) are written anew after every chunk.
"""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro

from predecoder import NeuralMatchingDecoder, load_bundle
from predecoder.inference import Precision
from qec import depolarizing, memory_circuit
from scripts.benchmarks.results import write_table

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "results" / "precision.md"
SEED = 8_000_000
P = 0.006


@dataclass(frozen=True)
class Flags:
    """Compare precisions on the same shots."""

    out: Path
    weights: tuple[str, ...] = ("accurate", "fast")
    distance: tuple[int, ...] = (5, 9, 13)
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
        ratio = self.other / self.float32
        factor = math.exp(
            1.96 * math.sqrt((self.only_float32 + self.only_other) / (self.float32 * self.other))
        )
        return f"{ratio:.3f} [{ratio / factor:.3f}, {ratio * factor:.3f}]"


def main() -> None:
    """Run every cell to its end and write the page."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "cells.jsonl"
    for distance, weights in product(flags.distance, flags.weights):
        sha256 = load_bundle(weights).file.sha256
        while True:
            done = [row for row in _rows(log) if (row["weights"], row["distance"]) == (sha256, distance)]
            chunk = len({row["chunk"] for row in done})
            if chunk * flags.chunk_shots >= flags.shots:
                break
            with log.open("a") as lines:
                for other, counts in _chunk(weights, distance, flags.chunk_shots, chunk).items():
                    cell = {"name": weights, "weights": sha256, "distance": distance, "chunk": chunk}
                    lines.write(json.dumps(cell | {"precision": other, "counts": vars(counts)}) + "\n")
            _write(_rows(log))


def _rows(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _chunk(weights: str, distance: int, shots: int, chunk: int) -> dict[Precision, Counts]:
    circuit = memory_circuit(
        distance=distance, rounds=distance, basis="x", noise=depolarizing(P), perfect_last_round=True
    )
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    sampler = circuit.compile_detector_sampler(seed=SEED + 1000 * distance + chunk)
    packed, truth = sampler.sample(shots, separate_observables=True, bit_packed=True)

    def predictions(precision: Precision) -> np.ndarray:
        decoder = NeuralMatchingDecoder(weights=weights, device="cpu", precision=precision, threads=1)
        compiled = decoder.compile_decoder_for_dem(dem=dem)
        return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)

    exact = predictions("float32")
    others: tuple[Precision, ...] = ("bfloat16",)
    if load_bundle(weights).network.config.quantized:
        others = ("bfloat16", "int8")
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


def _write(rows: list[dict]) -> None:
    """The page and its numbers."""
    cells: dict[tuple[str, int, str], Counts] = {}
    for row in rows:
        key, counts = (row["name"], row["distance"], row["precision"]), Counts(**row["counts"])
        cells[key] = cells[key] + counts if key in cells else counts
    head = [
        "| weights, X, p = 0.006 | d | shots | errors in float32 | in | errors | only float32 wrong | "
        "only it wrong | LER ratio to float32 | predictions that differ |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    body = [
        f"| {name} | {d} | {c.shots:,} | {c.float32} | {precision} | {c.other} | {c.only_float32} | "
        f"{c.only_other} | {c.ratio} | {c.differ} |"
        for (name, d, precision), c in sorted(cells.items())
    ]
    write_table(PAGE, "\n".join([*head, *body]))
    data = {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "cells": [
            {"weights": name, "distance": d, "precision": precision, **vars(c)}
            for (name, d, precision), c in sorted(cells.items())
        ],
    }
    PAGE.with_suffix(".json").write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
