"""Time per round of decoders with a network and of PyMatching, all on the same shots in one run.

    python -m scripts.benchmarks.speed.table --out out/speed --results docs/results
    python -m scripts.benchmarks.speed.table --out out/speed --decoder predecoder+pymatching --weights fast

One core: every decoder takes each batch in turn, in an order that rotates, after a warm-up, so that whatever
else the machine does hits all alike. Ratios are of one batch's times, given as their median and the quartiles
over the batches. Noise and rounds as in the benchmark `accuracy`. Nothing else may run meanwhile. Each batch
is a line of batches.jsonl: a run that is killed goes on where it was, if processor and decoders are the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from predecoder.training import EvaluationCase
from qec import normal_form
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import about_run, markdown_table, update_results
from scripts.benchmarks.speed.contestants import PLAIN, Contestant, contestants
from scripts.benchmarks.turns import in_turns, quartiles
from sims.decoders import Precision
from sims.sweeps import decoder_dem

SEED = 8_000_000
WARM_UP = 2
KEY = ("p", "d", "basis", "decoder", "weights", "precision")


@dataclass(frozen=True)
class Flags:
    """Reproduce the table of times."""

    out: Path
    distance: tuple[int, ...] = (5, 9, 13, 21, 31)
    p: tuple[float, ...] = (0.006,)
    basis: str = "x"
    weights: tuple[str, ...] = (
        "fast-matching",
        "realtime-matching",
        "fast-matching+accurate-matching",
        "realtime-matching+accurate-matching",
    )
    """Names or files; with a +, what neural-ensemble asks about doubtful shots comes after it."""
    decoder: tuple[str, ...] = ("neural-matching", "neural-ensemble")
    precision: Precision = "int8"
    batches: int = 20
    """Batches that are timed."""
    detectors_per_batch: int = 2_000_000
    """About; a batch has 64 to 4,096 shots."""
    results: Path | None = None
    """Folder for speed.json and speed.md; left out: only printed."""


@dataclass(frozen=True)
class Batch:
    """One batch: seconds and errors of each decoder."""

    shots: int
    seconds: tuple[float, ...]
    errors: tuple[int, ...]


def main() -> None:
    """Times every cell and prints the table."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    flags.out.mkdir(parents=True, exist_ok=True)
    decoders = list(contestants(flags.decoder, flags.weights, precision=flags.precision))
    rows: list[dict[str, Any]] = []
    for p in flags.p:
        for distance in flags.distance:
            cell = {"p": p, "d": distance, "basis": flags.basis}
            new = rows_of(cell, decoders, _measure(flags, cell, decoders))
            print(render(new), flush=True)
            rows += new
            if flags.results is not None:
                update_results(flags.results, "speed", rows, key=KEY, render=render)


def _measure(flags: Flags, cell: dict[str, Any], decoders: Sequence[Contestant]) -> list[Batch]:
    """All batches of a cell: those of the file, and those that it lacks."""
    distance = cell["d"]
    shots = int(np.clip(flags.detectors_per_batch // distance**3 // 64 * 64, 64, 4096))
    about = {"processor": about_run()["processor"], "shots": shots, "decoders": [of.key for of in decoders]}
    about = json.loads(json.dumps(cell | about))
    log = flags.out / "batches.jsonl"
    known = {line["batch"]: line for line in read_lines(log) if about.items() <= line.items()}
    missing = [number for number in range(flags.batches) if number not in known]
    if missing:
        circuit = EvaluationCase(distance, cell["p"], flags.basis, 0, perfect_last_round=True).circuit()
        normal = normal_form(decoder_dem(circuit))  # nothing of these DEMs is certain: shots are as sampled
        for of in decoders:
            of.compile(normal)
        for number in [*range(-WARM_UP, 0), *missing]:
            seed = SEED + 10_000 * distance + WARM_UP + number
            packed, truth = circuit.compile_detector_sampler(seed=seed).sample(
                shots, separate_observables=True, bit_packed=True
            )
            seconds, errors = _times(packed, truth, decoders, first=number)
            if number >= 0:
                known[number] = about | {"batch": number, "seconds": seconds, "errors": errors}
                add_lines(log, known[number])
    return [Batch(shots, tuple(line["seconds"]), tuple(line["errors"])) for line in known.values()]


def _times(
    packed: np.ndarray, truth: np.ndarray, decoders: Sequence[Contestant], *, first: int
) -> tuple[list[float], list[int]]:
    """Seconds and errors of all decoders on one batch, in turns that begin with the `first`."""
    given = [of.given(packed) for of in decoders]
    calls = [functools.partial(of.decode, shots) for of, shots in zip(decoders, given, strict=True)]
    seconds, predictions = in_turns(calls, first=first)
    return seconds, [int((predicted != truth).any(axis=1).sum()) for predicted in predictions]


def rows_of(
    cell: dict[str, Any], decoders: Sequence[Contestant], batches: Sequence[Batch]
) -> list[dict[str, Any]]:
    """One row a decoder: quartiles of µs a round, and of its ratios to both plain decoders."""
    rounds = np.array([batch.shots * cell["d"] for batch in batches])
    us = np.array([batch.seconds for batch in batches]).T / rounds * 1e6
    errors = np.array([batch.errors for batch in batches]).sum(axis=0)
    plain, correlated = (us[[of.decoder for of in decoders].index(name)] for name in PLAIN)
    return [
        cell
        | {"precision": "", **of.key}
        | {
            "us_per_round": quartiles(us[k]),
            "over_correlated": quartiles(us[k] / correlated),
            "over_plain": quartiles(us[k] / plain),
            "errors": int(errors[k]),
            "shots": sum(batch.shots for batch in batches),
        }
        for k, of in enumerate(decoders)
    ]


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; the processor is said of rows that have been written."""
    columns = ("p", "d", "decoder", "weights", "µs/round", "/ correlated", "/ plain", "errors", "shots")
    return markdown_table((*columns, "processor"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    spreads = ((row["us_per_round"], 2), (row["over_correlated"], 3), (row["over_plain"], 3))
    return (
        *(row[name] for name in ("p", "d", "decoder", "weights")),
        *(f"{middle:.{n}f} [{low:.{n}f}, {high:.{n}f}]" for (low, middle, high), n in spreads),
        row["errors"],
        f"{row['shots']:,}",
        row.get("measured", {}).get("processor", ""),
    )


if __name__ == "__main__":
    main()
