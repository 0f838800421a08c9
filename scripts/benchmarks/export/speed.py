"""Microseconds a round of a network by qecpipe's engines, onnxruntime and OpenVINO, on one thread.

    python -m scripts.benchmarks.export.speed --out out/export --distance 5 [--weights fast] [--prepare-only]

Runs are interleaved: every contender computes the same shots in turn, again and again until the time is over,
and its median counts. Rows go into docs/results/export.json and the table of docs/results/export.md. Files
are exported into --out before anything is timed, and kept for the next run.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import tyro

from predecoder import load_bundle
from qec import DecodingProblem, depolarizing, memory_circuit
from scripts.benchmarks.export.contenders import Run, contenders, exported_files
from scripts.benchmarks.export.page import update_page

SEED = 8_100_000
P = 0.006


@dataclass(frozen=True)
class Flags:
    """Time the contenders."""

    out: Path
    distance: tuple[int, ...] = (5, 9, 13)
    weights: tuple[str, ...] = ("fast", "realtime", "accurate")
    batch: int = 1024
    """Shots of a batch; fewer where one would take longer than --slowest."""
    seconds: float = 4.0
    """Of single shots, and of batches, for each network."""
    slowest: float = 1.0
    """Seconds that one batch may take."""
    prepare_only: bool = False
    """Export the files, and time nothing."""


def main() -> None:
    """Time every network and write the page."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    for distance in flags.distance:
        circuit = memory_circuit(distance=distance, rounds=distance, basis="x", noise=depolarizing(P))
        problem = DecodingProblem.from_circuit(circuit)
        packed, _ = circuit.compile_detector_sampler(seed=SEED + distance).sample(
            flags.batch, separate_observables=True, bit_packed=True
        )
        for weights in flags.weights:
            bundle = load_bundle(weights)
            folder = flags.out / f"{weights}-d{distance}-{bundle.file.sha256[:8]}"
            files = exported_files(problem, bundle, folder, packed)
            if flags.prepare_only:
                continue
            timed = {(name, precision): run for name, precision, run in contenders(problem, bundle, files)}
            rows = [
                {"weights": weights, "distance": distance, "runtime": key[0], "precision": key[1], **times}
                for key, times in _times(timed, packed, distance, flags).items()
            ]
            update_page("speed", rows, key=("weights", "distance", "runtime", "precision"))


def _times(
    timed: dict[tuple[str, str], Run], packed: np.ndarray, rounds: int, flags: Flags
) -> dict[tuple[str, str], dict[str, float]]:
    """Of each contender: microseconds a round of single shots and in batches, and the batches' shots."""
    sizes = {}
    for key, run in timed.items():
        run(packed[:1])
        run(packed[:16])
        start = time.perf_counter()
        run(packed[:16])
        per_shot = (time.perf_counter() - start) / 16
        sizes[key] = max(16, min(len(packed), int(flags.slowest / per_shot)))
    single = _interleaved(timed, {key: [packed[at : at + 1] for at in range(64)] for key in timed}, flags)
    batches = _interleaved(timed, {key: [packed[:size]] for key, size in sizes.items()}, flags)
    return {
        key: {
            "single_us": round(1e6 * median(single[key]) / rounds, 3),
            "batch_us": round(1e6 * median(batches[key]) / sizes[key] / rounds, 3),
            "batch_shots": sizes[key],
        }
        for key in timed
    }


def _interleaved(
    timed: dict[tuple[str, str], Run], inputs: dict[tuple[str, str], Sequence[np.ndarray]], flags: Flags
) -> dict[tuple[str, str], list[float]]:
    """Seconds of every run, in turns; each contender has at least two."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    end = time.perf_counter() + flags.seconds
    turn = 0
    while turn < 2 or time.perf_counter() < end:
        for key, run in timed.items():
            given = inputs[key][turn % len(inputs[key])]
            start = time.perf_counter()
            run(given)
            seconds[key].append(time.perf_counter() - start)
        turn += 1
    return seconds


if __name__ == "__main__":
    main()
