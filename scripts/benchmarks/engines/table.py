"""Time per round of networks alone, for one shot, for batches and on a stream, as a Markdown table.

    python -m scripts.benchmarks.engines.table --distance 5 13 --weights realtime [--results docs/results]

One thread. All engines of a network take the same shots in turn, in an order that rotates, after a warm-up,
so that whatever else the machine does hits all alike. Times are the median and the quartiles over the turns.
Those of one shot and of a stream are of one call after another, with what Python adds to each. Nothing else
may run meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

import _qecpipe
from global_decoders.windows import LayeredDem
from predecoder import load_bundle
from predecoder.correction import stream_network
from predecoder.inference import Engine, NativeEngine, TorchEngine
from predecoder.network import Network
from predecoder.training import EvaluationCase
from qec import DecodingProblem
from scripts.benchmarks.results import markdown_table, update_results

SEED = 9_000_000
WARM_UP = 2
KEY = ("weights", "d", "precision", "instruction set", "shots")


@dataclass(frozen=True)
class Flags:
    """Reproduce the table of times."""

    distance: tuple[int, ...] = (5, 13)
    p: float = 0.006
    basis: str = "x"
    weights: tuple[str, ...] = ("realtime", "fast", "accurate")
    batch: int = 64
    """Shots of a batch."""
    turns: int = 20
    """Turns that are timed."""
    results: Path | None = None
    """Folder for engines.json and engines.md; left out: only printed."""


@dataclass(frozen=True, eq=False)
class _Timed:
    """Something that computes logits.

    Attributes:
        precision, instruction_set: of the engine.
        shots: '1', the number of a batch, or 'stream'.
        rounds: that one call computes.
        call: does it once.
    """

    precision: str
    instruction_set: str
    shots: str
    rounds: int
    call: Callable[[], Any]


def main() -> None:
    """Times every network and prints the table."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    rows = []
    for weights in flags.weights:
        for distance in flags.distance:
            new = _measured(flags, weights, distance)
            print(render(new), flush=True)
            rows += new
    if flags.results is not None:
        print("written:", *update_results(flags.results, "engines", rows, key=KEY, render=render))


def _measured(flags: Flags, weights: str, distance: int) -> list[dict[str, Any]]:
    circuit = EvaluationCase(distance, flags.p, flags.basis, 0, perfect_last_round=True).circuit()
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    problem, network = DecodingProblem.from_dem(dem), load_bundle(weights).network
    packed = dem.compile_sampler(seed=SEED + distance).sample(flags.batch, bit_packed=True)[0]
    timed = [*_of_shots(problem, network, packed, distance), *_of_streams(problem, network, packed, distance)]
    seconds = np.zeros((len(timed), flags.turns))
    for turn in range(-WARM_UP, flags.turns):
        for k in np.roll(np.arange(len(timed)), turn):
            repeats = max(1, 50 * distance // timed[k].rounds)
            started = time.perf_counter()
            for _ in range(repeats):
                timed[k].call()
            if turn >= 0:
                seconds[k, turn] = (time.perf_counter() - started) / (repeats * timed[k].rounds)
    return [
        {
            "weights": weights,
            "d": distance,
            "precision": of.precision,
            "instruction set": of.instruction_set,
            "shots": of.shots,
            "us_per_round": [round(float(us), 3) for us in np.percentile(1e6 * taken, (25, 50, 75))],
        }
        for of, taken in zip(timed, seconds, strict=True)
    ]


def _precisions(network: Network) -> tuple[Literal["float32", "int8"], ...]:
    named = ("float32", "int8")
    return tuple(precision for precision in named if NativeEngine.runs(network, precision))


def _of_shots(
    problem: DecodingProblem, network: Network, packed: np.ndarray, distance: int
) -> Iterator[_Timed]:
    engines: list[tuple[str, Engine]] = []
    for precision in _precisions(network):
        for name in _qecpipe.instruction_sets():
            engine = NativeEngine(problem, network, precision=precision, instruction_set=name)
            engines.append((name, engine))
    if not NativeEngine.runs(network, "float32"):
        device = torch.device("cpu")
        for choice in ("float32", "bfloat16"):
            engines.append(("torch", TorchEngine(problem, network, device=device, precision=choice)))
    for name, engine in engines:
        for shots in (1, len(packed)):
            part = packed[:shots]
            yield _Timed(
                *(engine.precision, name, str(shots), shots * distance),
                lambda engine=engine, part=part: engine(part),
            )


def _of_streams(
    problem: DecodingProblem, network: Network, packed: np.ndarray, distance: int
) -> Iterator[_Timed]:
    layout, layers = problem.layout, LayeredDem.from_dem(problem.dem.flattened())
    grid = np.zeros((layout.shape[0], *layout.shape[1:]), dtype=np.uint8)
    grid.ravel()[layout.flat_voxels] = np.unpackbits(packed[0], count=layout.num_detectors, bitorder="little")
    for precision in _precisions(network):
        stream = stream_network(problem, network, layers=layers, precision=precision).begin()

        def shot(stream: _qecpipe.LayerStream = stream) -> None:
            stream.start()
            for t in range(layout.layers):
                stream.push(grid[t], last=t == layout.layers - 1)

        yield _Timed(precision, _qecpipe.instruction_sets()[-1], "stream", distance, shot)


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = ("weights", "d", "precision", "instruction set", "shots", "µs a round", "quartiles")
    return markdown_table(
        columns,
        [
            [*(row[name] for name in KEY), f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]
            for row in rows
            for low, middle, high in [row["us_per_round"]]
        ],
    )


if __name__ == "__main__":
    main()
