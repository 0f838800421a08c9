"""Time per round of pre-decoded and plain matching, all on the same shots in one run, as a Markdown table.

    python -m scripts.benchmarks.speed.table --distance 13 21 31 --weights fast [--results docs/results]

One core: every decoder takes each batch in turn, in an order that rotates, after a warm-up, so that whatever
else the machine does hits all alike. Ratios are of one batch's times, given as their median and the
quartiles over the batches. Noise and rounds as in the benchmark `accuracy`. Nothing else may run meanwhile.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import torch
import tyro

from global_decoders import make_decoder
from predecoder import CompiledPredecoded, NeuralMatchingDecoder, PredecodedDecoder
from predecoder.training import EvaluationCase
from scripts.benchmarks.results import markdown_table, update_results

SEED = 8_000_000
WARM_UP = 2
KEY = ("weights", "p", "d", "basis", "decoder")


@dataclass(frozen=True)
class Flags:
    """Reproduce the table of times."""

    distance: tuple[int, ...] = (13, 21, 31)
    p: tuple[float, ...] = (0.006,)
    basis: str = "x"
    weights: str = "fast"
    batches: int = 20
    """Batches that are timed."""
    rounds_per_batch: int = 2_000
    """Shots of a batch times their rounds, about."""
    results: Path | None = None
    """Folder for speed.json and speed.md; left out: only printed."""


@dataclass(frozen=True)
class Times:
    """Seconds float `(decoders, batches)` and errors of each decoder, in the order of `names`."""

    names: tuple[str, ...]
    seconds: np.ndarray
    errors: tuple[int, ...]
    shots: int


def main() -> None:
    """Times every cell and prints the table."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    rows = []
    for p in flags.p:
        for distance in flags.distance:
            new = _rows(flags, distance, p, _measure(flags, distance, p))
            print(render(new), flush=True)
            rows += new
    if flags.results is not None:
        print("written:", *update_results(flags.results, "speed", rows, key=KEY, render=render))


def _measure(flags: Flags, distance: int, p: float) -> Times:
    case = EvaluationCase(distance, p, flags.basis, 0, perfect_last_round=True)
    circuit = case.circuit()
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    decoders: dict[str, sinter.CompiledDecoder] = {}
    for name in ("pymatching", "pymatching-correlated"):
        decoders[name] = make_decoder(name).compile_decoder_for_dem(dem=dem)
    options = {"weights": flags.weights, "device": "cpu", "threads": 1}
    decoders["neural-matching"] = NeuralMatchingDecoder(**options).compile_decoder_for_dem(dem=dem)
    for name in ("pymatching", "pymatching-correlated"):
        before = PredecodedDecoder(make_decoder(name), **options)
        compiled = before.compile_decoder_for_dem(dem=dem)
        if not isinstance(compiled, CompiledPredecoded):
            raise ValueError(f"d={distance} is decoded without the network; give larger distances")
        decoders[f"predecoder+{name}"] = compiled
        decoders[f"{name} on its residual"] = _Residual(compiled)
    shots = max(8, flags.rounds_per_batch // distance // 8 * 8)
    sampler = circuit.compile_detector_sampler(seed=SEED + distance)
    names = tuple(decoders)
    seconds = np.zeros((len(names), flags.batches))
    errors = np.zeros(len(names), dtype=int)
    for batch in range(-WARM_UP, flags.batches):
        packed, truth = sampler.sample(shots, separate_observables=True, bit_packed=True)
        for decoder in decoders.values():
            if isinstance(decoder, _Residual):
                decoder.prepare(packed)
        gc.collect()
        gc.disable()
        for k in np.roll(np.arange(len(names)), batch):
            started = time.perf_counter()
            predicted = decoders[names[k]].decode_shots_bit_packed(bit_packed_detection_event_data=packed)
            spent = time.perf_counter() - started
            if batch >= 0:
                seconds[k, batch] = spent
                errors[k] += int((predicted != truth).any(axis=1).sum())
        gc.enable()
    return Times(names, seconds / (shots * distance), tuple(errors.tolist()), shots * flags.batches)


class _Residual(sinter.CompiledDecoder):
    """The global decoder behind a network, alone: the network has run before the clock starts."""

    def __init__(self, compiled: CompiledPredecoded) -> None:
        self._compiled = compiled

    def prepare(self, packed: np.ndarray) -> None:
        self._residual, self._flips = self._compiled.decode_to_residual(packed)

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data: np.ndarray) -> np.ndarray:
        decode = self._compiled.global_decoder.decode_shots_bit_packed
        return decode(bit_packed_detection_event_data=self._residual) ^ self._flips


def _rows(flags: Flags, distance: int, p: float, times: Times) -> list[dict[str, Any]]:
    """One row a decoder: quartiles of µs a round, and of its ratios to both plain decoders."""
    us = times.seconds * 1e6
    plain, correlated = (us[times.names.index(n)] for n in ("pymatching", "pymatching-correlated"))
    cell = {"weights": flags.weights, "p": p, "d": distance, "basis": flags.basis}
    return [
        cell
        | {
            "decoder": name,
            "us_per_round": _quartiles(of),
            "over_correlated": _quartiles(of / correlated),
            "over_plain": _quartiles(of / plain),
            "errors": errors,
            "shots": times.shots,
        }
        for name, of, errors in zip(times.names, us, times.errors, strict=True)
    ]


def _quartiles(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in np.percentile(values, (25, 50, 75))]


def render(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; the processor is said of rows that have been written."""
    columns = ("weights", "p", "d", "decoder", "µs/round", "/ correlated", "/ plain", "errors", "shots")
    return markdown_table((*columns, "processor"), map(_cells, rows))


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    spreads = ((row["us_per_round"], 1), (row["over_correlated"], 3), (row["over_plain"], 3))
    return (
        *(row[name] for name in ("weights", "p", "d", "decoder")),
        *(f"{middle:.{n}f} [{low:.{n}f}, {high:.{n}f}]" for (low, middle, high), n in spreads),
        row["errors"],
        row["shots"],
        row.get("measured", {}).get("processor", ""),
    )


if __name__ == "__main__":
    main()
