"""What a policy takes from the decoder behind it: its time, its LER and the SDR, as a Markdown table.

    python -m scripts.benchmarks.trade_curve.table --out out/trade_curve --weights accurate-matching
    python -m scripts.benchmarks.trade_curve.table --out out/trade_curve --policy threshold --commit 0 1 2 3
    python -m scripts.benchmarks.trade_curve.table --out out/trade_curve --results docs/results

Every policy in front of every decoder, on all shots of a chunk, after one run of the network. "Times faster"
is the decoder's time for whole shots over its time for what the policy leaves of them, chunk by chunk, in
turns, after a warm-up: median and quartiles over the chunks. The network's time and the policy's own are not
in it. Nothing else may run meanwhile. Error rates are of few shots here: the benchmark `accuracy` counts
more, and others, so that a threshold picked here is not picked on that table's shots. Each chunk is a line of
chunks.jsonl: a run that is killed goes on where it was, if processor, weights and settings are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro

from predecoder import PolicyName, load_bundle
from predecoder.inference import EngineOptions, PrecisionChoice
from predecoder.training import EvaluationCase, PairedCounts
from qec import Basis
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import about_run, markdown_table, update_results
from scripts.benchmarks.trade_curve.cell import Cell, Found, rows_of
from scripts.benchmarks.trade_curve.dial import Dial

SEED = 3_000_000
WARM_UP_SHOTS = 64
ENOUGH_ERRORS = 100
KEY = ("weights", "precision", "p", "d", "basis", "decoder", "policy", "thresholds")


@dataclass(frozen=True)
class Flags:
    """Print what policies take from decoders."""

    out: Path
    """Folder for chunks.jsonl."""
    weights: str = "default"
    distance: tuple[int, ...] = (5, 9, 13)
    p: float = 0.006
    basis: Basis = "x"
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated")
    policy: tuple[PolicyName, ...] = ("threshold", "consistent", "abstain")
    dial: tyro.conf.OmitArgPrefixes[Dial] = field(default_factory=Dial)
    precision: PrecisionChoice = "auto"
    shots: int = 8192
    chunk_shots: int = 512
    device: str = "auto"
    threads: int | None = None
    """Of the network, which is not timed."""
    results: Path | None = None
    """Folder for trade_curve.json and trade_curve.md; left out: only printed."""


def main() -> None:
    """Decodes every cell chunk by chunk and prints the table."""
    flags = tyro.cli(Flags)
    if min(flags.shots, flags.chunk_shots) < 1:
        raise SystemExit(
            f"--shots {flags.shots} and --chunk-shots {flags.chunk_shots}: both have to be 1 or more"
        )
    if flags.threads:
        torch.set_num_threads(flags.threads)
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for distance in flags.distance:
        rows += _rows(flags, distance)
        print(f"d = {distance} is done", flush=True)
    if flags.results is not None:
        update_results(flags.results, "trade_curve", rows, key=KEY, render=render)
    print(f"\n{render(rows)}\n")
    print(f"\\* fewer than {ENOUGH_ERRORS} errors on a side: not a result of LER.")


def _rows(flags: Flags, distance: int) -> list[dict[str, Any]]:
    """The rows of one distance, from chunks of the file and from those that it lacks."""
    bundle = load_bundle(flags.weights)
    cell = Cell(
        EvaluationCase(distance, flags.p, flags.basis, flags.shots, perfect_last_round=True).circuit(),
        bundle,
        decoders=flags.decoder,
        settings=flags.dial.settings(flags.policy, bundle.policies),
        options=EngineOptions(flags.device, precision=flags.precision),
    )
    experiment = {"p": flags.p, "d": distance, "basis": flags.basis}
    about = {"weights": flags.weights, "sha256": bundle.file.sha256, **experiment, **cell.about}
    what = about | {"chunk_shots": flags.chunk_shots, "processor": about_run()["processor"]}
    log = flags.out / "chunks.jsonl"
    known: dict[int, Found] = {
        line["chunk"]: line["found"] for line in read_lines(log) if what.items() <= line.items()
    }
    numbers = range(-(-flags.shots // flags.chunk_shots))
    missing = [number for number in numbers if number not in known]
    seed = SEED + 10_000 * distance
    if missing:
        cell.decode(WARM_UP_SHOTS, seed=seed - 1, first=0)
    for number in missing:
        known[number] = cell.decode(flags.chunk_shots, seed=seed + number, first=number)
        add_lines(log, what | {"chunk": number, "found": known[number]})
    return list(rows_of(about, [known[number] for number in numbers]))


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; the processor is said of rows that have been written."""
    errors = ("errors without / with network", "only without / only with", "ratio (95 %)")
    return markdown_table((*KEY, "shots", *errors, "SDR", "times faster", "processor"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    counts = PairedCounts(**row["counts"])
    (low, high), (lower, median, upper) = counts.ratio_interval, row["times_faster"]
    few = "*" if min(counts.errors_plain, counts.errors_predecoded) < ENOUGH_ERRORS else ""
    return (
        *(row[name] for name in KEY),
        f"{counts.shots:,}",
        f"{counts.errors_plain} / {counts.errors_predecoded}",
        f"{counts.only_plain} / {counts.only_predecoded}",
        f"{counts.ratio:.2f} [{low:.2f}, {high:.2f}]{few}",
        f"{counts.sdr:.1f}" if counts.residual_events else "all",
        f"{median:.2f} [{lower:.2f}, {upper:.2f}]",
        row.get("measured", {}).get("processor", ""),
    )


if __name__ == "__main__":
    main()
