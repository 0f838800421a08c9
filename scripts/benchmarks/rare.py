"""Logical error rates down to 10^-12 by splitting, beside direct sampling where both reach.

    python -m scripts.benchmarks.rare --out out/rare --distance 13 17 21 --p 0.003 [--results docs/results]
    python -m scripts.benchmarks.rare --out out/rare-curve --distance 9 --p 0.003 0.002 0.001 0.0005 0.0002

d rounds, the last one perfect, X basis. Every estimate is a line of --out, so that a killed run goes on
where it was. Where 100 errors are to be had from --direct-shots shots of the circuit, these are sampled
besides, with a seed of their own. With --results, rows go into rare-events.json and rare-events.md of that
folder as soon as they are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import tyro

from scripts.benchmarks.results import markdown_table, update_results
from sims.decoders import NamedDecoder, build_decoder
from sims.rare import Collected, Effort, Until, collect_rare
from sims.sweeps import CircuitFamily, sweep_tasks

KEY = ("noise", "p", "d", "basis", "decoder", "weights")
DIRECT_ERRORS = 100
DIRECT_BATCH = 20_000
DIRECT_SEED = 9_000_000


@dataclass(frozen=True)
class Flags:
    """Estimate cells one after the other, small distances first."""

    out: Path
    distance: tuple[int, ...] = (13, 17, 21)
    p: tuple[float, ...] = (0.003,)
    decoder: tuple[str, ...] = ("pymatching", "pymatching-correlated")
    weights: str = "default"
    noise: str = "depolarizing"
    effective_errors: float = 100
    repetitions: int = 64
    chains: int = 768
    steps: int = 2
    direct_shots: int = 1_000_000
    workers: int = 1
    seed: int = 1
    results: Path | None = None


def main() -> None:
    """Runs every cell to its end and prints the table."""
    flags = tyro.cli(Flags)
    decoders = [build_decoder(name, weights=flags.weights) for name in flags.decoder]
    family = CircuitFamily(
        distance=flags.distance, p=flags.p, basis=("x",), noise=flags.noise, perfect_last_round=True
    )
    tasks = sweep_tasks(family, decoders)
    rows = []
    for plain, one in zip(tasks, _collected(flags, tasks, decoders), strict=True):
        row = _row(one) | _direct(flags, plain, one, decoders)
        rows.append(row)
        print(json.dumps(row), flush=True)
        if flags.results is not None:
            update_results(flags.results, "rare-events", [row], key=KEY, render=render)
    print(f"\n{render(rows)}")


def _collected(flags: Flags, tasks: Sequence[sinter.Task], decoders: Sequence[NamedDecoder]):
    """Estimates of the tasks, in their order."""
    return collect_rare(
        tasks,
        {named.name: named.decoder for named in decoders},
        folder=flags.out,
        seed=flags.seed,
        effort=Effort(flags.chains, flags.steps),
        until=Until(flags.repetitions, flags.effective_errors or None),
        workers=flags.workers,
        report=lambda task, text: print(
            f"d={task.json_metadata['d']} p={task.json_metadata['p']:g} {task.decoder}: {text}", flush=True
        ),
    )


def _row(one: Collected) -> dict[str, Any]:
    meta, rate = one.task.json_metadata, one.rare.rate
    return {
        **{name: meta[name] for name in ("noise", "p", "d", "basis")},
        "decoder": one.task.decoder,
        "weights": meta.get("weights", ""),
        "rate": [rate.low, rate.best, rate.high],
        "effective_errors": one.rare.effective_errors,
        "ancestors": one.rare.ancestors,
        "estimates": len(one.runs),
        "decoded": one.decoded,
        "core_seconds": one.seconds,
    }


def _direct(
    flags: Flags, task: sinter.Task, one: Collected, decoders: Sequence[NamedDecoder]
) -> dict[str, int]:
    """Errors counted in shots of the circuit, if enough are to be expected; kept in --out."""
    shots = DIRECT_BATCH * math.ceil(DIRECT_ERRORS / one.rare.rate.best / DIRECT_BATCH)
    if shots > flags.direct_shots:
        return {}
    path = flags.out / f"direct-{task.strong_id()[:16]}-{shots}.json"
    if not path.exists():
        (decoder,) = (named for named in decoders if named.name == task.decoder)
        compiled = decoder.compiled(task.detector_error_model)
        sampler = task.circuit.compile_detector_sampler(seed=DIRECT_SEED + flags.seed)
        errors = 0
        for _ in range(shots // DIRECT_BATCH):
            detections, flips = sampler.sample(DIRECT_BATCH, separate_observables=True, bit_packed=True)
            predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=detections)
            errors += int(np.count_nonzero((predicted != flips).any(axis=1)))
        path.write_text(json.dumps({"direct_shots": shots, "direct_errors": errors}))
    return json.loads(path.read_text())


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    cell = ("noise", "d", "p", "basis", "decoder")
    found = (
        "LER by splitting (95 %)",
        "effective errors",
        "ancestors",
        "estimates",
        "shots decoded",
        "core time",
    )
    direct = ("shots that counting would take", "direct sampling", "splitting / direct, z")
    ordered = sorted(rows, key=lambda row: (row["noise"], row["d"], -row["p"], row["decoder"]))
    return markdown_table((*cell, *found, *direct), map(_cells, ordered))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    low, best, high = row["rate"]
    effective = row["effective_errors"]
    counted, ratio = "", ""
    if "direct_errors" in row:
        errors, shots = row["direct_errors"], row["direct_shots"]
        counted = f"{errors:,} of {shots:,}: {errors / shots:.2e}"
        sigma = math.sqrt(1 / errors + 1 / effective)
        ratio = f"{best * shots / errors:.2f}, {math.log(best * shots / errors) / sigma:+.1f}"
    return (
        *(row[name] for name in ("noise", "d", "p", "basis", "decoder")),
        f"{best:.2e} [{low:.2e}, {high:.2e}]",
        f"{effective:.0f}",
        f"{row['ancestors']:.0f}" if "ancestors" in row else "",
        row["estimates"],
        f"{row['decoded']:,}",
        f"{row['core_seconds']:.0f} s",
        f"{effective / best:.1e}",
        counted,
        ratio,
    )


if __name__ == "__main__":
    main()
