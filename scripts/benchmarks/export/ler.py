"""Logical errors of exported files against the float32 engine on the same shots.

    python -m scripts.benchmarks.export.ler --out out/export --distance 5 --precision int8 --runtime OpenVINO

A cell (weights, precision, runtime, distance) runs in chunks, each a line of ler.jsonl in --out, so that a
killed run goes on where it was; docs/results/export.json and the table of docs/results/export.md follow every
chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from predecoder import Bundle, load_bundle
from predecoder.export import Agreement, ExportPrecision, Reference, build_graph, load_graph, write_graph
from qec import DecodingProblem, depolarizing, memory_circuit, ratio_of_errors
from scripts.benchmarks.export.page import update_page
from scripts.benchmarks.lines import add_lines, read_lines

SEED = 8_200_000
P = 0.006
_CALIBRATION_SHOTS = 512
_BATCH_SHOTS = 256


@dataclass(frozen=True)
class Flags:
    """Compare files with the engine."""

    out: Path
    weights: tuple[str, ...] = ("fast", "realtime", "accurate")
    precision: tuple[ExportPrecision, ...] = ("float32", "int8")
    distance: tuple[int, ...] = (5, 9)
    runtime: Literal["onnxruntime", "OpenVINO"] = "onnxruntime"
    """What runs the file; OpenVINO is the faster one."""
    shots: int = 10_240
    """Of every cell, in all."""
    chunk_shots: int = 2048


def main() -> None:
    """Run every cell to its end and write the page."""
    flags = tyro.cli(Flags)
    torch.set_num_threads(1)
    flags.out.mkdir(parents=True, exist_ok=True)
    log = flags.out / "ler.jsonl"
    for distance, weights, precision in product(flags.distance, flags.weights, flags.precision):
        bundle = load_bundle(weights)
        cell = {"weights": bundle.file.sha256, "precision": precision, "distance": distance}
        cell["runtime"] = flags.runtime
        counts = [Agreement(**row["counts"]) for row in read_lines(log) if row["cell"] == cell]
        chunk: Callable[[int], Agreement] | None = None
        while len(counts) * flags.chunk_shots < flags.shots:
            chunk = chunk or _prepared(bundle, precision, distance, flags)
            counts.append(chunk(len(counts)))
            add_lines(log, {"cell": cell, "counts": vars(counts[-1])})
            total = sum(counts[1:], start=counts[0])
            row = {"file": f"{weights}, {precision}", "sha256": bundle.file.sha256, "ratio": _ratio(total)}
            row |= {"runtime": flags.runtime, "distance": distance, **vars(total)}
            update_page("ler", [row], key=("file", "runtime", "distance"))


def _prepared(
    bundle: Bundle, precision: ExportPrecision, distance: int, flags: Flags
) -> Callable[[int], Agreement]:
    """A function that decodes one chunk of shots by file and engine."""
    circuit = memory_circuit(distance=distance, rounds=distance, basis="x", noise=depolarizing(P))
    problem = DecodingProblem.from_circuit(circuit)
    graph = build_graph(problem, bundle)
    calibration = None
    if precision == "int8":
        detections = circuit.compile_detector_sampler(seed=SEED - distance).sample(_CALIBRATION_SHOTS)
        calibration = np.asarray(detections, dtype=np.uint8)
    path = flags.out / f"{bundle.file.path.stem}-{precision}-d{distance}.onnx"
    write_graph(graph, path, calibration=calibration, batch_shots=32)
    exported = load_graph(path) if flags.runtime == "onnxruntime" else _openvino(path)
    reference = Reference(problem, bundle, graph)

    def chunk(number: int) -> Agreement:
        sampler = circuit.compile_detector_sampler(seed=SEED + 1000 * distance + number)
        packed, truth = sampler.sample(flags.chunk_shots, separate_observables=True, bit_packed=True)
        parts = [slice(start, start + _BATCH_SHOTS) for start in range(0, len(packed), _BATCH_SHOTS)]
        counts = [reference.compare(exported, packed[part], truth[part]) for part in parts]
        return sum(counts[1:], start=counts[0])

    return chunk


def _openvino(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(path, "CPU", options).create_infer_request()
    return lambda bits: [np.array(output) for output in request.infer({0: bits}).values()]


def _ratio(counts: Agreement) -> str:
    """LER(file) / LER(engine) with its 95 % interval, of the discordant shots."""
    if not (counts.errors and counts.engine_errors):
        return "too few errors"
    discordant = counts.only_exported + counts.only_engine
    ratio = ratio_of_errors(counts.errors, counts.engine_errors, variance=discordant)
    return f"{ratio.best:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]"


if __name__ == "__main__":
    main()
