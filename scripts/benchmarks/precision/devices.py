"""What number formats of GPUs cost in logical errors, by the same rounding on a CPU, on the same shots.

    python -m scripts.benchmarks.precision.devices --out out/devices [--distance 5 9]

`neural-matching` decodes the same shots with logits of the float32 engine and of each format. bfloat16 and
float16 are what `DeviceEngine` computes, whole networks in that type and logits in steps of `LOGIT_STEP`, on
a device that is a thread of the host: the kernels and the roundings are the GPU's, the order in which
libraries sum is not. 'int8 logits' are float32 logits in these steps. fp8 (e4m3) has no engine: it is what
one could have at best, both factors of the convolutions in the residual blocks rounded, their sums and all
else float32, one scale for the inputs of a convolution and one for each output channel.

Cells run in chunks, each some lines of cells.jsonl in --out, so that a killed run goes on where it was; the
last table of docs/results/precision.md and devices.json follow every chunk.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import nn

from cuda.qecpipe import CpuDriver
from predecoder import load_bundle
from predecoder.correction import MatchingDecision, Residual
from predecoder.inference import LOGIT_STEP, DeviceEngine, EngineOptions, make_engine
from predecoder.network import Network
from qec import DecodingProblem, depolarizing, memory_circuit
from scripts.benchmarks.lines import add_lines, read_lines
from scripts.benchmarks.precision.table import PAGE, Counts, P, compared
from scripts.benchmarks.results import about_run, markdown_table, write_table

SEED = 8_300_000
DATA = PAGE.with_name("devices.json")
FORMATS = ("int8 logits", "bfloat16", "float16", "fp8")
_BATCH_SHOTS = 256
_LARGEST_FP8 = float(torch.finfo(torch.float8_e4m3fn).max)


@dataclass(frozen=True)
class Flags:
    """Compare number formats of devices on the same shots."""

    out: Path
    weights: tuple[str, ...] = ("accurate-matching",)
    distance: tuple[int, ...] = (5, 9)
    shots: int = 32_768
    """Of every cell, in all."""
    chunk_shots: int = 2048


def main() -> None:
    """Run every cell to its end and write the page."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "cells.jsonl"
    for distance, weights in product(flags.distance, flags.weights):
        sha256 = load_bundle(weights).file.sha256
        done = {row["chunk"] for row in read_lines(log) if (row["sha256"], row["d"]) == (sha256, distance)}
        chunk: Callable[[int], dict[str, Counts]] | None = None
        for number in range(-(-flags.shots // flags.chunk_shots)):
            if number in done:
                continue
            chunk = chunk or _prepared(weights, distance, flags.chunk_shots)
            cell = {"weights": weights, "sha256": sha256, "d": distance, "chunk": number}
            lines = [cell | {"format": name, **vars(counts)} for name, counts in chunk(number).items()]
            add_lines(log, *lines)
            _write(read_lines(log))


def _prepared(weights: str, distance: int, shots: int) -> Callable[[int], dict[str, Counts]]:
    """A function that decodes one chunk of shots in every format."""
    circuit = memory_circuit(
        distance=distance, rounds=distance, basis="x", noise=depolarizing(P), perfect_last_round=True
    )
    problem, network = DecodingProblem.from_circuit(circuit), load_bundle(weights).network
    decide, apply = MatchingDecision(problem), Residual(problem.moves)

    def engine(of: Network) -> Callable[[np.ndarray], np.ndarray]:
        return make_engine(problem, of, EngineOptions("cpu", precision="float32", threads=1))

    def device(precision) -> DeviceEngine:
        drivers = [CpuDriver()]
        return DeviceEngine(problem, network, drivers=drivers, precision=precision, batch_shots=_BATCH_SHOTS)

    exact, halves = engine(network), {name: device(name) for name in ("bfloat16", "float16")}
    fp8: Callable[[np.ndarray], np.ndarray] | None = None

    def chunk(number: int) -> dict[str, Counts]:
        nonlocal fp8
        sampler = circuit.compile_detector_sampler(seed=SEED + 1000 * distance + number)
        packed, truth = sampler.sample(shots, separate_observables=True, bit_packed=True)
        fp8 = fp8 or engine(_in_fp8(network, lambda of: engine(of)(packed[:_BATCH_SHOTS])))
        logits = exact(packed)
        given = {"int8 logits": _in_steps(logits), "fp8": fp8(packed)}
        given |= {name: of(packed) for name, of in halves.items()}
        predicted = {name: apply(packed, decide(of, packed))[1] for name, of in given.items()}
        reference = apply(packed, decide(logits, packed))[1]
        return {name: compared(reference, predicted[name], truth) for name in FORMATS}

    return chunk


def _in_steps(logits: np.ndarray) -> np.ndarray:
    """Logits as int8 in units of `LOGIT_STEP`, and back."""
    return np.clip(np.rint(logits / LOGIT_STEP), -127, 127).astype(np.float32) * np.float32(LOGIT_STEP)


def _in_fp8(network: Network, calibrate: Callable[[Network], object]) -> Network:
    """A copy whose residual blocks convolve fp8 numbers; `calibrate` runs it, for ranges of inputs."""
    made = copy.deepcopy(network)
    ranges: dict[nn.Module, float] = {}
    convolutions = [of for of in made.trunk.modules() if getattr(of, "weight", None) is not None]

    def see(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        ranges[module] = max(ranges.get(module, 0.0), float(given[0].abs().max()))

    handles = [of.register_forward_pre_hook(see) for of in convolutions]
    calibrate(made)
    for handle in handles:
        handle.remove()

    def round_input(module: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (_rounded(given[0], torch.tensor(ranges[module])), *given[1:])

    for of in convolutions:
        weight: torch.Tensor = of.weight  # pyright: ignore[reportAssignmentType]
        with torch.no_grad():
            weight.copy_(_rounded(weight, weight.abs().amax(dim=(1, 2, 3, 4), keepdim=True)))
        of.register_forward_pre_hook(round_input)
    return made


def _rounded(values: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """The nearest numbers of e4m3 times the scale that gives the largest its largest."""
    unit = largest.clamp_min(1e-30) / _LARGEST_FP8
    return (values / unit).clamp(-_LARGEST_FP8, _LARGEST_FP8).to(torch.float8_e4m3fn).to(values.dtype) * unit


def _write(rows: list[dict]) -> None:
    """The table and its numbers."""
    cells: dict[tuple[str, int, str], Counts] = {}
    for row in rows:
        key = row["weights"], row["d"], row["format"]
        counts = Counts(**{name: row[name] for name in Counts.__dataclass_fields__})
        cells[key] = cells[key] + counts if key in cells else counts
    columns = (
        *("weights", "d", "format on a device", "shots", "errors in float32", "errors"),
        *("only float32 wrong", "only it wrong", "LER ratio to float32", "predictions that differ"),
    )
    ordered = sorted(cells.items(), key=lambda cell: (*cell[0][:2], FORMATS.index(cell[0][2])))
    table = markdown_table(
        columns,
        (
            (*key, f"{c.shots:,}", c.float32, c.other, c.only_float32, c.only_other, c.ratio, c.differ)
            for key, c in ordered
        ),
    )
    write_table(PAGE, table)
    about = about_run()
    data = [
        {"weights": weights, "d": d, "format": name, **vars(c), "measured": about}
        for (weights, d, name), c in ordered
    ]
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
