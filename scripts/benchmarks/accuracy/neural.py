"""Errors of `neural-matching` and `neural-ensemble` beside those of correlated PyMatching, paired.

    python -m scripts.benchmarks.accuracy.neural --out out/neural [--weights fast-matching] [--distance 5 9]
    python -m scripts.benchmarks.accuracy.neural --out out/neural --noise si1000 si1000-cz --p 0.002
    python -m scripts.benchmarks.accuracy.neural --out out/neural --weights fast-matching+accurate-matching
    python -m scripts.benchmarks.accuracy.neural --out out/neural --results docs/results

Experiments of d rounds, see `experiments`. All decoders see the same shots: doubtful ones, and a share of
the others that counts for all (`selection`). A cell runs in chunks until correlated PyMatching and every
decoder of ours have --min-errors errors, or it has had --max-shots. What each decoder gets wrong in each
chunk is a line of chunks.jsonl: a killed run goes on where it was, and others join on the same shots later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import sinter
import tyro

from global_decoders import DoubtfulShots
from qec import Basis, normal_form
from scripts.benchmarks.accuracy.experiments import Experiment, NoiseName
from scripts.benchmarks.accuracy.selection import Counted, SelectedShots, Selection
from scripts.benchmarks.accuracy.summary import pooled_ratio, summary
from scripts.benchmarks.accuracy.wrong_shots import Paired, WrongShots, WrongShotsFile, paired
from scripts.benchmarks.results import markdown_table, update_results, write_table
from sims.decoders import NEURAL_ENSEMBLE, NamedDecoder, Precision, build_decoder
from sims.sweeps import decoder_dem

SEED = 9_000_000
"""Chunks of both bases, of all noises and p share theirs; `summary.pooled_ratio` says what that means."""
ENOUGH_ERRORS = 100
PLAIN = ("pymatching", "pymatching-correlated")
KEY = ("weights", "decoder", "precision", "noise", "p", "d", "basis")


@dataclass(frozen=True)
class Flags:
    """Reproduce the table."""

    out: Path
    weights: tuple[str, ...] = ("accurate-matching", "fast-matching", "realtime-matching")
    """Names or files; after a +, which neural-ensemble alone takes, what it asks about doubtful shots."""
    decoder: tuple[str, ...] = ("neural-matching", "neural-ensemble")
    precision: Precision = "auto"
    """What networks compute in; 'auto' is the weights' own."""
    distance: tuple[int, ...] = (5, 9, 13)
    p: tuple[float, ...] = (0.006,)
    basis: tuple[Basis, ...] = ("x", "z")
    noise: tuple[NoiseName, ...] = ("depolarizing",)
    min_errors: int = 300
    max_shots: int = 2_000_000
    chunk_shots: int = 8192
    plain_gap: float = 8.0
    share: int = 16
    threads: int = 1
    results: Path | None = None


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    log = WrongShotsFile(flags.out / "chunks.jsonl")
    ours = {
        (weights, name): _built(flags, name, weights)
        for name, weights in product(flags.decoder, flags.weights)
        if "+" not in weights or name == NEURAL_ENSEMBLE
    }
    rows: list[dict[str, Any]] = []
    for noise, p, distance, basis in product(flags.noise, flags.p, flags.distance, flags.basis):
        experiment = Experiment(noise, p, distance, basis)
        run = _Run(flags, experiment, log)
        chunks = run.chunks([*map(build_decoder, PLAIN), *ours.values()])
        rows += [_row(experiment, key, named, chunks) for key, named in ours.items()]
        print(_said(experiment, chunks, ours), flush=True)
        if flags.results is not None:
            data, page = update_results(flags.results, "neural", rows, key=KEY, render=render)
            write_table(page, summary(json.loads(data.read_text(encoding="utf-8"))))
    print(render(rows), f"\n\\* fewer than {ENOUGH_ERRORS} errors on a side: not a result.")


def _built(flags: Flags, name: str, weights: str) -> NamedDecoder:
    first, *opinions = weights.split("+")
    return build_decoder(
        name,
        weights=first,
        opinions=opinions,
        device="cpu",
        precision=flags.precision,
        threads=flags.threads,
    )


Chunks = dict[str, list[WrongShots]]
"""By decoder, all chunks of one cell; see `_name`."""


class _Run:
    """One cell, chunk by chunk."""

    def __init__(self, flags: Flags, experiment: Experiment, log: WrongShotsFile) -> None:
        self._flags, self._experiment, self._log = flags, experiment, log
        self._compiled: dict[str, sinter.CompiledDecoder] = {}
        self._selection: Selection | None = None
        self._circuit = experiment.circuit()

    def chunks(self, decoders: Sequence[NamedDecoder]) -> Chunks:
        """What every decoder got wrong, until there are errors enough."""
        found: Chunks = {_name(named): [] for named in decoders}
        number = 0
        while not self._enough(found, number):
            for named, result in zip(decoders, self._of_chunk(decoders, number), strict=True):
                found[_name(named)].append(result)
            number += 1
        return found

    def _enough(self, found: Chunks, number: int) -> bool:
        errors = [
            sum(result.errors[0] for result in results) for name, results in found.items() if name != PLAIN[0]
        ]
        return (
            min(errors) >= self._flags.min_errors or number * self._flags.chunk_shots >= self._flags.max_shots
        )

    def _of_chunk(self, decoders: Sequence[NamedDecoder], number: int) -> list[WrongShots]:
        results = [self._log.get(self._what(named, number)) for named in decoders]
        if None in results:
            shots = self._selected(number)
            for k, named in enumerate(decoders):
                if results[k] is None:
                    wrong = self._ready(named).decode_shots_bit_packed(
                        bit_packed_detection_event_data=shots.packed
                    )
                    result = WrongShots(shots.counted, (wrong != shots.truth).any(axis=1))
                    self._log.add(self._what(named, number), result)
                    results[k] = result
        return [result for result in results if result is not None]

    def _selected(self, number: int) -> SelectedShots:
        if self._selection is None:
            normal, flags = normal_form(decoder_dem(self._circuit)), self._flags
            doubtful = DoubtfulShots(normal, plain_gap=flags.plain_gap, share=flags.share)
            self._selection = Selection(self._circuit, doubtful)
        seed = SEED + 10_000 * self._experiment.d + number
        return self._selection.sample(self._flags.chunk_shots, seed=seed)

    def _ready(self, named: NamedDecoder) -> sinter.CompiledDecoder:
        name = _name(named)
        if name not in self._compiled:
            self._compiled[name] = named.compiled(decoder_dem(self._circuit))
        return self._compiled[name]

    def _what(self, named: NamedDecoder, number: int) -> dict[str, Any]:
        flags = self._flags
        selected = {"chunk_shots": flags.chunk_shots, "plain_gap": flags.plain_gap, "share": flags.share}
        return {
            **self._experiment.columns,
            **selected,
            "number": number,
            "decoder": named.name,
            **named.identity,
        }


def _name(named: NamedDecoder) -> str:
    return " ".join([named.name, *named.identity.values()])


def _row(experiment: Experiment, key: tuple[str, str], named: NamedDecoder, chunks: Chunks) -> dict[str, Any]:
    plain, correlated, mine = (chunks[name] for name in (*PLAIN, _name(named)))
    pairs = sum((paired(a, b) for a, b in zip(correlated, mine, strict=True)), Paired())
    beside = sum((paired(a, b) for a, b in zip(plain, mine, strict=True)), Paired())
    weights, decoder = key
    return {
        **{"weights": weights, "sha256": named.weights, "decoder": decoder, "precision": named.precision},
        "policy": named.policy,
        **experiment.columns,
        **vars(_counted(mine)),
        **{"pymatching": beside.one, "correlated": pairs.one, "ours": pairs.other},
        **{"only_correlated": pairs.only_one, "only_ours": pairs.only_other},
    }


def _counted(results: Iterable[WrongShots]) -> Counted:
    return sum((result.counted for result in results), Counted())


def _said(experiment: Experiment, chunks: Chunks, ours: dict[tuple[str, str], NamedDecoder]) -> str:
    counted = _counted(chunks[PLAIN[0]])
    names = {name: name for name in PLAIN}
    names |= {f"{decoder} {weights}": _name(named) for (weights, decoder), named in ours.items()}
    errors = {
        shown: counted.estimate(_sum(result.errors for result in chunks[name]))
        for shown, name in names.items()
    }
    return f"{experiment}: {counted}, " + ", ".join(f"{name} {n:.0f}" for name, n in errors.items())


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    doubtful, others = zip(*pairs, strict=True)
    return sum(doubtful), sum(others)


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    shots = ("shots", "decoded: doubtful + others")
    errors = ("errors PyMatching", "correlated", "ours", "only correlated / only ours wrong")
    return markdown_table((*KEY, *shots, *errors, "ours / correlated (95 %)"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    counted = Counted(row["shots"], row["doubtful"], row["others"])
    names = ("pymatching", "correlated", "ours", "only_correlated", "only_ours")
    n = {name: counted.estimate(row[name]) for name in names}
    few = "*" if min(sum(row["ours"]), sum(row["correlated"])) < ENOUGH_ERRORS else ""
    ratio, low, high = pooled_ratio([row])
    return (
        *(row[name] for name in KEY),
        f"{counted.shots:,}",
        f"{counted.doubtful:,} + {counted.others:,}",
        *(f"{n[name]:,.0f}" for name in names[:3]),
        f"{n['only_correlated']:,.0f} / {n['only_ours']:,.0f}",
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]{few}",
    )


if __name__ == "__main__":
    main()
