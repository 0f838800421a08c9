"""Errors of `neural-matching` and `neural-ensemble` beside those of correlated PyMatching, paired.

    python -m scripts.benchmarks.accuracy.neural --out out/neural [--weights fast-matching] [--distance 5 9]
    python -m scripts.benchmarks.accuracy.neural --out out/neural --noise si1000 --p 0.002
    python -m scripts.benchmarks.accuracy.neural --out out/neural --results docs/results

Rounds and noise as the paper's reference counts them (a last round without noise). All decoders see the same
shots. A cell runs in chunks until correlated PyMatching and every decoder of ours have --min-errors errors,
or it has had --max-shots; each chunk is one line of cells.jsonl, so that a killed run goes on where it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import tyro

from predecoder import resolve_weights
from predecoder.training import EvaluationCase, Noise
from scripts.benchmarks.results import markdown_table, update_results
from sims import make_decoder

SEED = 9_000_000
ENOUGH_ERRORS = 100
PLAIN = ("pymatching", "pymatching-correlated")
KEY = ("weights", "decoder", "noise", "p", "d", "basis")


@dataclass(frozen=True)
class Flags:
    """Reproduce the table."""

    out: Path
    weights: tuple[str, ...] = ("accurate-matching", "fast-matching", "realtime-matching")
    decoder: tuple[str, ...] = ("neural-matching", "neural-ensemble")
    distance: tuple[int, ...] = (5, 9, 13)
    p: tuple[float, ...] = (0.006,)
    basis: tuple[str, ...] = ("x", "z")
    noise: tuple[Noise, ...] = ("depolarizing",)
    min_errors: int = 300
    max_shots: int = 100_000
    chunk_shots: int = 4096
    threads: int = 1
    results: Path | None = None


Wrong = dict[str, np.ndarray]
Counts = dict[str, list[int]]
"""Of each decoder: errors; shots that only correlated PyMatching, and that only this one gets wrong."""


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    flags.out.mkdir(parents=True, exist_ok=True)
    names = [f"{decoder} {weights}" for decoder, weights in product(flags.decoder, flags.weights)]
    hashes = {weights: resolve_weights(weights).sha256 for weights in flags.weights}
    rows: list[dict[str, Any]] = []
    for cell in product(flags.noise, flags.p, flags.distance, flags.basis):
        shots, counts = _run(flags, cell, names, hashes)
        rows += _rows(cell, shots, counts, names, hashes)
        print(f"{cell}: {shots} shots, " + ", ".join(f"{n} {counts[n][0]}" for n in counts), flush=True)
    print(render(rows), f"\n\\* fewer than {ENOUGH_ERRORS} errors on a side: not a result.")
    if flags.results is not None:
        print("written:", *update_results(flags.results, "neural", rows, key=KEY, render=render))


def _run(
    flags: Flags, cell: tuple[Noise, float, int, str], names: list[str], hashes: dict[str, str]
) -> tuple[int, Counts]:
    """Shots of a cell, and all counts."""
    noise, p, distance, basis = cell
    what = {"noise": noise, "p": p, "d": distance, "basis": basis, "names": names, "hashes": hashes}
    log = flags.out / "cells.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    chunks = [row for row in done if {key: row[key] for key in what} == what]
    total = {
        name: [sum(row["counts"][name][k] for row in chunks) for k in range(3)] for name in (*PLAIN, *names)
    }
    shots, compiled = sum(row["shots"] for row in chunks), None
    case = EvaluationCase(distance, p, basis, flags.chunk_shots, perfect_last_round=True, noise=noise)
    circuit = case.circuit()
    while shots < flags.max_shots and min(total[n][0] for n in (PLAIN[1], *names)) < flags.min_errors:
        compiled = compiled or _compiled(circuit, names, flags.threads)
        seed = SEED + 10_000 * distance + len(chunks)
        packed, truth = circuit.compile_detector_sampler(seed=seed).sample(
            flags.chunk_shots, separate_observables=True, bit_packed=True
        )
        wrong = {
            name: (decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed) != truth).any(
                axis=1
            )
            for name, decoder in compiled.items()
        }
        counts = _counts(wrong)
        chunks.append(what | {"shots": len(packed), "counts": counts})
        with log.open("a") as lines:
            lines.write(json.dumps(chunks[-1]) + "\n")
        shots += len(packed)
        total = {name: [a + b for a, b in zip(total[name], counts[name], strict=True)] for name in total}
    return shots, total


def _compiled(circuit: Any, names: list[str], threads: int) -> dict[str, sinter.CompiledDecoder]:
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    decoders = {name: make_decoder(name) for name in PLAIN}
    for name in names:
        kind, weights = name.split()
        decoders[name] = make_decoder(kind, weights=weights, device="cpu", threads=threads)
    return {name: decoder.compile_decoder_for_dem(dem=dem) for name, decoder in decoders.items()}


def _counts(wrong: Wrong) -> Counts:
    correlated = wrong[PLAIN[1]]
    return {
        name: [int(w.sum()), int((correlated & ~w).sum()), int((w & ~correlated).sum())]
        for name, w in wrong.items()
    }


def _rows(
    cell: tuple[Noise, float, int, str], shots: int, counts: Counts, names: list[str], hashes: dict[str, str]
) -> Iterator[dict[str, Any]]:
    noise, p, distance, basis = cell
    for name in names:
        decoder, weights = name.split()
        yield {
            **{"weights": weights, "sha256": hashes[weights], "decoder": decoder},
            **{"noise": noise, "p": p, "d": distance, "basis": basis, "shots": shots},
            **{"pymatching": counts[PLAIN[0]][0], "correlated": counts[PLAIN[1]][0]},
            **dict(zip(("ours", "only_correlated", "only_ours"), counts[name], strict=True)),
        }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = ("weights", "decoder", "noise", "p", "d", "basis", "shots")
    errors = ("errors PyMatching", "correlated", "ours", "only correlated / only ours wrong")
    return markdown_table((*columns, *errors, "ours / correlated (95 %)"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    ours, correlated = row["ours"], row["correlated"]
    few = "*" if min(ours, correlated) < ENOUGH_ERRORS else ""
    ratio = ours / max(1, correlated)
    # As of PairedCounts: the delta method on the logarithm, from the discordant shots.
    variance = (row["only_ours"] + row["only_correlated"]) / max(1, ours * correlated)
    factor = math.exp(1.96 * math.sqrt(variance))
    return (
        *(row[name] for name in ("weights", "decoder", "noise", "p", "d", "basis")),
        *(f"{row[name]:,}" for name in ("shots", "pymatching", "correlated", "ours")),
        f"{row['only_correlated']} / {row['only_ours']}",
        f"{ratio:.2f} [{ratio / factor:.2f}, {ratio * factor:.2f}]{few}",
    )


if __name__ == "__main__":
    main()
