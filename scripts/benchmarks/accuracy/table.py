"""LER(PyMatching) / LER(pre-decoded PyMatching) from the shipped weights, paired, as a Markdown table.

    python -m scripts.benchmarks.accuracy.table --out out/accuracy [--distance 5 9 13] [--p 0.006 0.003]
    python -m scripts.benchmarks.accuracy.table --out out/accuracy --policy consistent --noise si1000-cz
    python -m scripts.benchmarks.accuracy.table --out out/accuracy --results docs/results

Experiments of d rounds, see `experiments`. Every decoder sees the same shots: doubtful ones, and a share of
the others that counts for all (`selection`). `predecoder+X` is compared with X, `neural-matching` with
PyMatching and with correlated PyMatching. Unless --policy says otherwise, each `predecoder+X` has the policy
that suits X. A cell runs in chunks until both sides of every decoder of --decoder have --min-errors errors or
it has had --max-shots; each chunk is a line of cells.jsonl, so that a killed run goes on where it was. With
--results, the rows go into accuracy.json and accuracy.md of that folder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from global_decoders import DoubtfulShots
from predecoder import PolicyName, load_bundle
from predecoder.inference import PrecisionChoice, select_device
from predecoder.training import DEFAULT_DECODERS, PairedCounts, PairedDecoders
from qec import Basis, Ratio, normal_form, ratio_of_errors
from scripts.benchmarks.accuracy.experiments import Experiment, NoiseName
from scripts.benchmarks.accuracy.selection import Counted, Selection
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.results import markdown_table, update_results
from sims.sweeps import decoder_dem

SEED = 7_000_000
"""Chunks of both bases, of all noises and p share theirs; `summary.pooled_ratio` says what that means."""
ENOUGH_ERRORS = 100
KEY = ("weights", "policy", "noise", "p", "d", "basis", "decoder")


@dataclass(frozen=True)
class Flags:
    """Reproduce the accuracy table."""

    out: Path
    weights: str = "default"
    decoder: tuple[str, ...] = DEFAULT_DECODERS
    distance: tuple[int, ...] = (5, 9, 13, 17, 21)
    p: tuple[float, ...] = (0.006, 0.003)
    basis: tuple[Basis, ...] = ("x", "z")
    noise: tuple[NoiseName, ...] = ("depolarizing",)
    policy: PolicyName | Literal["auto"] = "auto"
    precision: PrecisionChoice = "auto"
    min_errors: int = 100
    max_shots: int = 500_000
    chunk_shots: int = 4096
    device: str = "auto"
    threads: int | None = None
    results: Path | None = None


@dataclass(frozen=True)
class Counts:
    """One decoder on shots of a cell; they add.

    Attributes:
        shots: that were sampled.
        doubtful, others: those of them that were decoded; see `Counted`.
    """

    shots: int = 0
    doubtful: PairedCounts = dataclasses.field(default_factory=PairedCounts)
    others: PairedCounts = dataclasses.field(default_factory=PairedCounts)

    def __add__(self, more: Counts) -> Counts:
        return Counts(self.shots + more.shots, self.doubtful + more.doubtful, self.others + more.others)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Counts:
        """The inverse of `dataclasses.asdict`."""
        return cls(row["shots"], PairedCounts(**row["doubtful"]), PairedCounts(**row["others"]))

    @property
    def counted(self) -> Counted:
        """Shots by kind."""
        return Counted(self.shots, self.doubtful.shots, self.others.shots)

    def of(self, name: str) -> tuple[int, int]:
        """A count of both kinds."""
        return getattr(self.doubtful, name), getattr(self.others, name)

    def estimate(self, name: str) -> float:
        """A count of all shots."""
        return self.counted.estimate(self.of(name))

    @property
    def fewest_errors(self) -> int:
        """That were counted, on either side."""
        return min(sum(self.of("errors_plain")), sum(self.of("errors_predecoded")))

    @property
    def ratio_interval(self) -> Ratio:
        """LER(plain) / LER(pre-decoded)."""
        plain, predecoded = self.estimate("errors_plain"), self.estimate("errors_predecoded")
        only = sum(self.counted.variance(self.of(name)) for name in ("only_plain", "only_predecoded"))
        return ratio_of_errors(plain, predecoded, variance=only)

    @property
    def sdr(self) -> float:
        """Syndrome density before over after; infinite where nothing is left."""
        left = self.estimate("residual_events")
        return self.estimate("events") / left if left else math.inf


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    sha256 = load_bundle(flags.weights).file.sha256
    flags.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for noise, p, distance, basis in product(flags.noise, flags.p, flags.distance, flags.basis):
        experiment = Experiment(noise, p, distance, basis)
        counts = _run(flags, experiment, sha256)
        rows += _rows(flags, experiment, counts, sha256)
        said = (f"{name} {c.ratio_interval[0]:.3f}" for name, c in counts.items())
        print(f"{experiment}: {counts[flags.decoder[0]].counted}, {', '.join(said)}", flush=True)
        if flags.results is not None:
            update_results(flags.results, "accuracy", rows, key=KEY, render=render)
    print(f"\nweights sha256 {sha256[:12]}; paired, 95 % intervals\n")
    print(f"{render(rows)}\n\n\\* fewer than {ENOUGH_ERRORS} errors on a side: not a result.")


def _run(flags: Flags, experiment: Experiment, sha256: str) -> dict[str, Counts]:
    """Counts of a cell by decoder."""
    what = {
        **{"weights": sha256, "policy": flags.policy, "precision": flags.precision},
        **{"decoders": list(flags.decoder), "chunk_shots": flags.chunk_shots, **experiment.columns},
    }
    log = flags.out / "cells.jsonl"
    chunks = [line["counts"] for line in read_lines(log) if line.get("cell") == what]
    total = {name: Counts() for name in flags.decoder}
    for chunk in chunks:
        total = {name: total[name] + Counts.from_dict(chunk[name]) for name in total}
    number, decoding = len(chunks), None
    while not _finished(total, flags):
        decoding = decoding or _Decoding(flags, experiment)
        counts = decoding.chunk(number)
        of = {name: dataclasses.asdict(c) for name, c in counts.items()}
        add_lines(log, {"cell": what, "counts": of})
        total = {name: total[name] + counts[name] for name in total}
        number += 1
    return total


def _finished(total: dict[str, Counts], flags: Flags) -> bool:
    enough = min(counts.fewest_errors for counts in total.values()) >= flags.min_errors
    return enough or total[flags.decoder[0]].shots >= flags.max_shots


class _Decoding:
    """Everything compiled for one cell."""

    def __init__(self, flags: Flags, experiment: Experiment) -> None:
        circuit, bundle = experiment.circuit(), load_bundle(flags.weights)
        dem = decoder_dem(circuit)
        self._selection = Selection(circuit, DoubtfulShots(normal_form(dem)))
        self._decoders = PairedDecoders(
            bundle.network,
            bundle.policies,
            dem,
            device=select_device(flags.device),
            decoders=flags.decoder,
            policy=None if flags.policy == "auto" else flags.policy,
            precision=flags.precision,
        )
        self._shots, self._seed = flags.chunk_shots, SEED + 1000 * experiment.d

    def chunk(self, number: int) -> dict[str, Counts]:
        shots = self._selection.sample(self._shots, seed=self._seed + number)
        doubtful, others = (self._decoders.count(shots.packed[p], shots.truth[p]) for p in shots.parts)
        return {name: Counts(self._shots, doubtful[name], others[name]) for name in doubtful}


def _rows(
    flags: Flags, experiment: Experiment, counts: dict[str, Counts], sha256: str
) -> Iterator[dict[str, Any]]:
    """One row a decoder, with all its counts."""
    for decoder, of_decoder in counts.items():
        yield {
            **{"weights": flags.weights, "policy": flags.policy, "precision": flags.precision},
            **{"sha256": sha256, **experiment.columns, "decoder": decoder},
            "counts": dataclasses.asdict(of_decoder),
        }


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    shots, pairs = (
        ("shots", "decoded: doubtful + others"),
        ("errors plain / with network", "only plain / only with"),
    )
    return markdown_table((*KEY, *shots, *pairs, "ratio (95 %)", "SDR"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    counts = Counts.from_dict(row["counts"])
    ratio, low, high = counts.ratio_interval
    few = "*" if counts.fewest_errors < ENOUGH_ERRORS else ""
    names = ("errors_plain", "errors_predecoded", "only_plain", "only_predecoded")
    plain, predecoded, only_plain, only_predecoded = (f"{counts.estimate(name):,.0f}" for name in names)
    return (
        *(row[name] for name in KEY),
        f"{counts.shots:,}",
        f"{counts.doubtful.shots:,} + {counts.others.shots:,}",
        f"{plain} / {predecoded}",
        f"{only_plain} / {only_predecoded}",
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]{few}",
        f"{counts.sdr:.1f}" if counts.sdr < 1e4 else "all",
    )


if __name__ == "__main__":
    main()
