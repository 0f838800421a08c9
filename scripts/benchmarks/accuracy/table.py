"""LER(PyMatching) / LER(pre-decoded PyMatching) from the shipped weights, paired, as a Markdown table.

    python -m scripts.benchmarks.accuracy.table --out out/accuracy [--distance 5 9 13] [--p 0.006 0.003]
    python -m scripts.benchmarks.accuracy.table --out out/accuracy --distance 9 --noise si1000
    python -m scripts.benchmarks.accuracy.table --out out/accuracy --results docs/results

Rounds and noise as the paper's reference counts them (a last round without noise). Every decoder sees
the same shots; `predecoder+X` is compared with X, `neural-matching` with PyMatching and with correlated
PyMatching. Unless --policy says
otherwise, each `predecoder+X` has the policy that suits X. A cell runs in chunks until both sides have
--min-errors errors or it has had --max-shots; each chunk is one line of cells.jsonl, so that a killed run
goes on where it was. With --results, the rows go into accuracy.json and accuracy.md of that folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from predecoder import PolicyName, load_bundle
from predecoder.inference import select_device
from predecoder.training import (
    DEFAULT_DECODERS,
    EvaluationCase,
    Noise,
    PairedCounts,
    PairedEvaluator,
)
from scripts.benchmarks.results import markdown_table, update_results

SEED = 7_000_000
ENOUGH_ERRORS = 100
KEY = ("weights", "policy", "noise", "p", "d", "basis", "decoder")


@dataclass(frozen=True)
class Flags:
    """Reproduce the accuracy table."""

    out: Path
    weights: str = "default"
    distance: tuple[int, ...] = (5, 9, 13, 17, 21)
    p: tuple[float, ...] = (0.006, 0.003)
    basis: tuple[str, ...] = ("x", "z")
    noise: tuple[Noise, ...] = ("depolarizing",)
    policy: PolicyName | Literal["auto"] = "auto"
    min_errors: int = 100
    max_shots: int = 100_000
    chunk_shots: int = 4096
    device: str = "auto"
    threads: int | None = None
    results: Path | None = None


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    bundle = load_bundle(flags.weights)
    weights, device = bundle.file, select_device(flags.device)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "cells.jsonl"
    done = _read(log, weights.sha256, flags.policy)
    for noise, p, distance, basis in product(flags.noise, flags.p, flags.distance, flags.basis):
        case = EvaluationCase(distance, p, basis, flags.chunk_shots, perfect_last_round=True, noise=noise)
        evaluator = None
        while not _finished(done, case, flags):
            policy = None if flags.policy == "auto" else flags.policy
            evaluator = evaluator or PairedEvaluator(
                bundle.network, bundle.policies, case, device=device, policy=policy
            )
            chunk = _chunks(done, case)
            counts = evaluator.run(case.shots, seed=SEED + 1000 * distance + chunk)
            with log.open("a") as lines:
                for decoder, c in counts.items():
                    key = {"noise": noise, "distance": distance, "p": p, "basis": basis, "decoder": decoder}
                    what = {"weights": weights.sha256, "policy": flags.policy}
                    row = key | what | {"counts": dataclasses.asdict(c)}
                    lines.write(json.dumps(row) + "\n")
                    done.setdefault(_key(row), []).append(c)
            plain = sum(done[(noise, distance, p, basis, DEFAULT_DECODERS[0])], PairedCounts())
            print(
                f"{noise} d={distance} p={p:g} {basis}: {plain.shots} shots, ratio {plain.ratio:.3f}",
                flush=True,
            )
    rows = list(_rows(done, flags, weights.sha256))
    print(f"\nweights sha256 {weights.sha256[:12]}; paired, perfect last round, 95 % intervals\n")
    print(f"{render(rows)}\n\n\\* fewer than {ENOUGH_ERRORS} errors on a side: not a result.")
    if flags.results is not None:
        print("written:", *update_results(flags.results, "accuracy", rows, key=KEY, render=render))


def _key(row: dict) -> tuple:
    return row["noise"], row["distance"], row["p"], row["basis"], row["decoder"]


def _read(log: Path, sha256: str, policy: str) -> dict[tuple, list[PairedCounts]]:
    done: dict[tuple, list[PairedCounts]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        row = json.loads(line)
        if row["weights"] == sha256 and row["policy"] == policy:
            done.setdefault(_key(row), []).append(PairedCounts(**row["counts"]))
    return done


def _chunks(done: dict[tuple, list[PairedCounts]], case: EvaluationCase) -> int:
    return len(done.get((case.noise, case.distance, case.p, case.basis, DEFAULT_DECODERS[-1]), []))


def _finished(done: dict[tuple, list[PairedCounts]], case: EvaluationCase, flags: Flags) -> bool:
    total = sum(
        done.get((case.noise, case.distance, case.p, case.basis, DEFAULT_DECODERS[0]), []), PairedCounts()
    )
    enough = min(total.errors_plain, total.errors_predecoded) >= flags.min_errors
    return enough or total.shots >= flags.max_shots


def _rows(done: dict[tuple, list[PairedCounts]], flags: Flags, sha256: str) -> Iterator[dict[str, Any]]:
    """One row a cell and decoder, with all its counts."""
    for noise, p, distance, basis in product(flags.noise, flags.p, flags.distance, flags.basis):
        for decoder in DEFAULT_DECODERS:
            counts = sum(done[(noise, distance, p, basis, decoder)], PairedCounts())
            cell = {"noise": noise, "p": p, "d": distance, "basis": basis, "decoder": decoder}
            what = {"weights": flags.weights, "policy": flags.policy, "sha256": sha256}
            yield what | cell | {"counts": dataclasses.asdict(counts)}


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    pairs = ("errors plain / with network", "only plain / only with network")
    columns = ("weights", "policy", "noise", "p", "d", "basis", "decoder", "shots", *pairs)
    return markdown_table((*columns, "ratio (95 %)", "SDR"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    c = PairedCounts(**row["counts"])
    low, high = c.ratio_interval
    few = "*" if min(c.errors_plain, c.errors_predecoded) < ENOUGH_ERRORS else ""
    return (
        *(row[name] for name in ("weights", "policy", "noise", "p", "d", "basis", "decoder")),
        f"{c.shots:,}",
        f"{c.errors_plain} / {c.errors_predecoded}",
        f"{c.only_plain} / {c.only_predecoded}",
        f"{c.ratio:.2f} [{low:.2f}, {high:.2f}]{few}",
        f"{c.sdr:.1f}" if c.residual_events else "all",
    )


if __name__ == "__main__":
    main()
