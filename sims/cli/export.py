"""`qecpipe export`: a pre-decoder as an ONNX or torch.export file, for TensorRT and other runtimes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import stim
from rich.progress import track

from predecoder import Bundle, load_bundle
from predecoder.export import (
    CLUSTER_STEPS,
    Agreement,
    Graph,
    Reference,
    TensorLayout,
    build_graph,
    ising_decoding_order,
    load_graph,
    manifest,
    manifest_path,
    reordered,
    write_graph,
)
from qec import DecodingProblem, output_file
from sims.cli.console import make_console
from sims.cli.files import about, check_inputs, check_output_file, parse_stim
from sims.cli.options import positive, seed, weights_file
from sims.cli.parse_flags import parse_flags
from sims.statistics import INTERVAL_NAME, error_rate
from sims.sweeps.tasks import Basis, CircuitFamily, Orientation, decoder_dem

RESUME_HINT = "no file was written; run the same command again"

_CHUNK_SHOTS = 256
_CALIBRATION_SHOTS = 512


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a pre-decoder on one patch and number of rounds as a graph for other runtimes, with a manifest.

    Detections go in, one byte each, any number of shots at a time. Out come the residual and observable flips
    of the policy threshold, for a matcher behind it; or the logits, to be matched themselves. FILE.json says
    what the tensors mean, what was exported, and how it decodes some shots beside the float32 engine.
    """

    out: Path
    """File to write; FILE.json is written beside it. Neither may be there."""
    format: Literal["onnx", "torch-export"] = "onnx"
    """Format of the file: onnx, or torch-export for what torch.export.load reads."""
    graph: Literal["residual", "logits"] = "residual"
    """What comes out. residual: what the policy threshold leaves of the detections, and the observables that
    it flips; logits: those of every elementary move, in the order of the manifest."""
    layout: TensorLayout = "qecpipe"
    """Names and order of tensors: qecpipe, or cudaq for one output of flips and residual as CUDA-Q QEC's
    real-time pre-decoder has it. Without --circuit and --dem, cudaq also has the detectors in the order of
    NVIDIA's Ising-Decoding."""
    precision: Literal["float32", "int8"] = "float32"
    """What the file computes in. int8: with QDQ nodes around the convolutions of residual blocks, as TensorRT
    reads them."""
    weights: str = "default"
    """The network's weights: accurate, fast or realtime; each with -matching behind it for logits; or a
    safetensors file. Left out: accurate."""
    distance: int | None = None
    """Code distance; left out: 5."""
    rounds: int | None = None
    """Rounds of the circuit; left out: as many as the distance."""
    basis: Basis = "x"
    """Basis of the logical qubit that is kept."""
    p: float | None = None
    """Physical error rate, which noise-conditioned networks and thresholds are told; left out: 0.006."""
    orientation: Orientation = "XV"
    """Type of the patch's upper-left ancilla and the side of its first boundary ancilla."""
    noise: str = "depolarizing"
    """Noise of the circuit: depolarizing, si1000, uniform-stim (Stim's generated circuits), or a TOML file
    with 25 rates."""
    perfect_last_round: bool = False
    """Leave noise out of the last round and the final measurement, as in Ising-Decoding's circuits."""
    circuit: Path | None = None
    """Stim circuit whose detectors and noise to export for, in place of the flags from --distance on."""
    dem: Path | None = None
    """Detector error model to export for, likewise; its detectors have coordinates."""
    cluster_steps: int = CLUSTER_STEPS
    """Steps, from move to move, that the residual graph follows clusters of moves; more take longer."""
    shots: int = 1024
    """Shots that are decoded by the file and by the engine, for the manifest."""
    seed: int = 1
    """Seed of those shots, and of those that int8 is calibrated on."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(ExportConfig, "export", arguments)
    weights_input = Path(config.weights) if config.weights.endswith(".safetensors") else None
    noise_file = Path(config.noise) if config.noise.endswith(".toml") else None
    check_inputs(config.circuit, config.dem, noise_file, weights_input)
    _check_outputs(config)
    for flag, value in (("--cluster-steps", config.cluster_steps), ("--shots", config.shots)):
        positive(flag, value)
    seed("--seed", config.seed)
    if config.precision == "int8" and config.format != "onnx":
        raise ValueError(f"--format {config.format} has no --precision int8; use --format onnx")
    experiment, dem, sample = _experiment(config)
    bundle = load_bundle(config.weights)
    file = config.circuit or config.dem
    with nullcontext() if file is None else about(file):
        problem = DecodingProblem.from_dem(dem)
        graph = build_graph(
            problem, bundle, name=config.graph, layout=config.layout, steps=config.cluster_steps
        )
    with output_file(manifest_path(config.out)) as text, output_file(config.out) as unfinished:
        calibration = None
        if config.precision == "int8":
            packed, _ = sample(_CALIBRATION_SHOTS, config.seed + 1)
            calibration = np.unpackbits(packed, axis=1, count=graph.num_detectors, bitorder="little")
        write_graph(graph, unfinished, format=config.format, calibration=calibration)
        measured = _measured(config, problem, bundle, graph, unfinished, sample)
        described = manifest(
            graph,
            problem,
            bundle,
            path=unfinished,
            name=config.out.name,
            format=config.format,
            precision=config.precision,
        )
        described = {"experiment": experiment, "measured": measured, **described}
        text.write_text(json.dumps(described, separators=(",", ":")) + "\n")
    return _report(config, measured)


def _check_outputs(config: ExportConfig) -> None:
    """Raise where the file or its manifest is there, or their folder is not."""
    check_output_file(config.out, inputs=(config.circuit, config.dem, weights_file(config.weights)))
    if not config.out.parent.is_dir():
        raise ValueError(f"the folder of --out {config.out} does not exist; make it, or give another")
    for path in (config.out, manifest_path(config.out)):
        if path.exists():
            raise ValueError(f"--out {path} exists; move it away, or give another name")


Sample = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
"""Bit-packed detections and observable flips of a number of shots, by a seed."""


def _experiment(config: ExportConfig) -> tuple[dict[str, Any], stim.DetectorErrorModel, Sample]:
    """What the graph is for, its error model, and shots of it."""
    _require_one_experiment(config)
    if config.dem is not None:
        dem = parse_stim(config.dem, stim.DetectorErrorModel, "detector error model")
        return {"dem": config.dem.name}, dem, _samples_of_model(dem)
    if config.circuit is not None:
        circuit = parse_stim(config.circuit, stim.Circuit, "circuit")
        return {"circuit": config.circuit.name}, decoder_dem(circuit), _samples_of_circuit(circuit)
    from_file = config.noise.endswith(".toml")
    family = CircuitFamily(
        distance=(5 if config.distance is None else config.distance,),
        rounds="d" if config.rounds is None else config.rounds,
        p=() if config.p is None and from_file else (0.006 if config.p is None else config.p,),
        basis=(config.basis,),
        orientation=config.orientation,
        noise=config.noise,
        perfect_last_round=config.perfect_last_round,
    )
    ((metadata, circuit),) = family.circuits()
    dem = decoder_dem(circuit)
    if config.layout != "cudaq" or metadata["orientation"] == "stim":
        return metadata, dem, _samples_of_circuit(circuit)
    order = ising_decoding_order(circuit, upper_left=config.orientation[0])
    metadata["detector_order"] = "Ising-Decoding"
    return metadata, reordered(dem, order), _samples_of_circuit(circuit, order)


def _require_one_experiment(config: ExportConfig) -> None:
    given = [
        flag for flag in ("dem", "circuit", "distance", "rounds", "p") if getattr(config, flag) is not None
    ]
    if len(given) > 1 and given[0] in ("dem", "circuit"):
        raise ValueError(f"--{given[0]} and --{given[1]} both say what to export for; leave one out")


def _samples_of_circuit(circuit: stim.Circuit, order: np.ndarray | None = None) -> Sample:
    def sample(shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        sampler = circuit.compile_detector_sampler(seed=seed)
        detections, flips = sampler.sample(shots, separate_observables=True, bit_packed=True)
        if order is None:
            return detections, flips
        bits = np.unpackbits(detections, axis=1, count=len(order), bitorder="little")
        return np.packbits(bits[:, order], axis=1, bitorder="little"), flips

    return sample


def _samples_of_model(dem: stim.DetectorErrorModel) -> Sample:
    def sample(shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        detections, flips, _ = dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)
        return detections, flips

    return sample


def _measured(
    config: ExportConfig,
    problem: DecodingProblem,
    bundle: Bundle,
    graph: Graph,
    path: Path,
    sample: Sample,
) -> dict[str, Any]:
    """The manifest's entry on how the file decodes, beside the engine."""
    exported = load_graph(path, format=config.format)
    reference = Reference(problem, bundle, graph)
    packed, truth = sample(config.shots, config.seed)
    console = make_console()
    total = Agreement(0, 0, 0, 0, 0, 0, 0)
    for start in track(
        range(0, config.shots, _CHUNK_SHOTS),
        "decoding shots by file and engine",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        chunk = slice(start, start + _CHUNK_SHOTS)
        total += reference.compare(exported, packed[chunk], truth[chunk])
    rates = {}
    for name, errors in (("exported", total.errors), ("engine", total.engine_errors)):
        rate = error_rate(errors, total.shots)
        rates[name] = {"errors": errors, "ler": rate.best, "low": rate.low, "high": rate.high}
    return {
        "decoder": "neural-matching" if config.graph == "logits" else "predecoder+pymatching",
        "shots": total.shots,
        "seed": config.seed,
        "interval": INTERVAL_NAME,
        "exported": rates["exported"],
        "engine": {"precision": "float32", **rates["engine"]},
        "only_exported_wrong": total.only_exported,
        "only_engine_wrong": total.only_engine,
        "different_shots": total.different,
        "unsettled_shots": total.unsettled,
    }


def _report(config: ExportConfig, measured: dict[str, Any]) -> int:
    """Print what was written and how it decodes."""
    console = make_console()
    console.print(f"written: {config.out}, {manifest_path(config.out)}")
    for name in ("exported", "engine"):
        one = measured[name]
        console.print(
            f"{name}: LER {one['ler']:.4g} [{one['low']:.4g}, {one['high']:.4g}] "
            f"({one['errors']:,} of {measured['shots']:,}, {INTERVAL_NAME})"
        )
    console.print(f"shots that differ: {measured['different_shots']:,}")
    return 0
