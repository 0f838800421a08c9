"""`qecpipe calibrate`: measure a dense network's activations, so that the int8 engine can run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import stim
from rich.progress import track

from predecoder import load_bundle, save_weights
from predecoder.inference import measure_ranges
from qec import DecodingProblem
from sims.cli.console import make_console
from sims.cli.files import check_inputs, check_output_file
from sims.cli.options import positive, seed, weights_file
from sims.cli.parse_flags import parse_flags
from sims.sweeps.tasks import STIM_NOISE, CircuitFamily, decoder_dem

RESUME_HINT = "no file was written; run the same command again"


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(CircuitFamily):
    """Write a dense network's weights with the ranges of its activations, for --precision int8.

    Weights and policies are what they were. Give the distances and noise that the network is for: what
    leaves a range is cut off. Every circuit is sampled with and without noise in its last round.
    """

    out: Path
    """File of weights to write, .safetensors; a card is written beside it. Neither may be there."""
    weights: str = "default"
    """The dense network's weights: accurate, accurate-matching, or a safetensors file; left out: accurate."""
    distance: tuple[int, ...] = (5, 8, 13)
    """Code distances, even or odd, at least 2."""
    p: tuple[float, ...] = ()
    """Physical error rates in [0, 0.5); left out: 0.001 0.003 0.006 0.012, or those of --noise FILE."""
    shots: int = 32
    """Shots of every circuit."""
    seed: int = 1
    """Seed of the first circuit's shots; the others have those that follow."""


def run(arguments: list[str]) -> int:
    """Run the verb; returns its exit code."""
    config = parse_flags(CalibrateConfig, "calibrate", arguments)
    given = Path(config.weights) if config.weights.endswith(".safetensors") else None
    check_inputs(given, config.noise_file)
    positive("--shots", config.shots)
    seed("--seed", config.seed)
    if config.out.suffix != ".safetensors":
        raise ValueError(f"--out {config.out} does not end in .safetensors; give a name that does")
    inputs = (weights_file(config.weights), config.noise_file)
    for path in (config.out, config.out.with_suffix(".json")):
        check_output_file(path, inputs=inputs)
        if path.exists():
            raise ValueError(f"{path} exists; move it away, or give another --out")
    bundle, circuits = load_bundle(config.weights), _circuits(config)
    network = bundle.network
    shots = _shots(track(circuits, "calibrating", console=make_console()), config)
    network.ranges = measure_ranges(network, shots)  # pyright: ignore[reportArgumentType]
    described = {
        "weights": bundle.file.sha256,
        "circuits": len(circuits),
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(CircuitFamily)},
        "shots": config.shots,
        "seed": config.seed,
    }
    file = save_weights(
        network, config.out, bundle.file.card | {"calibrated": described}, policies=bundle.policies
    )
    make_console().print(f"written: {config.out}, sha256 {file.sha256}")
    return 0


def _circuits(config: CalibrateConfig) -> list[stim.Circuit]:
    """Those of all flags, with noise in the last round and without where there is a choice."""
    p = config.p or (() if config.noise_file else (0.001, 0.003, 0.006, 0.012))
    last_rounds = (False,) if config.noise == STIM_NOISE else (False, True)
    families = [dataclasses.replace(config, p=p, perfect_last_round=perfect) for perfect in last_rounds]
    return [circuit for family in families for _, circuit in family.circuits()]


def _shots(
    circuits: Iterable[stim.Circuit], config: CalibrateConfig
) -> Iterator[tuple[DecodingProblem, np.ndarray]]:
    for number, circuit in enumerate(circuits):
        sampler = circuit.compile_detector_sampler(seed=config.seed + number)
        packed = np.asarray(sampler.sample(config.shots, bit_packed=True))
        yield DecodingProblem.from_dem(decoder_dem(circuit)), packed
