"""Decoding under drifting noise with a DEM that follows it, against an oracle and against a static fit.

    python -m scripts.benchmarks.drift.table --out FILE [--seeds 5]  # run again to go on
    python -m scripts.benchmarks.drift.table --out FILE --report     # into docs/results/drift.md

Every seed is one run of --blocks blocks of --block-shots shots of an X memory, d = 5, 5 rounds (both flags).
The rates of block k are the depolarizing ones at --p times exp(1.2 sin(2 pi (k / blocks + phase))): one
period over the run. The five classes of parameters (preparation, measurement, idling in CNOT layers, idling
in preparation and measurement, CNOTs) have phases 0, 1/5, ..., 4/5, to which the seed adds one random phase
and which it shuffles: if all swung together, matching would hardly notice.

Every block is decoded with five DEMs, on the same shots:
    oracle     the true one of the block
    ema        `NoiseTracker` (shared-parameter fit, window chosen by prediction) on the blocks before
    static     the shared-parameter fit of block 0, a calibration at the start
    pooled     the shared-parameter fit of all blocks of the run at once: hindsight, but one DEM
    guess      depolarizing noise at --p: no learning at all
Block 0 only learns. Ratios are LER over the oracle's, all blocks of a seed together. Each seed is one line of
--out, so that a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import sinter
import stim

from global_decoders import make_decoder
from noise_learning import (
    Moments,
    NoiseTracker,
    SharedParameterModel,
    TrackedNoise,
    fit_shared_parameters,
    shared_parameter_predictor,
)
from qec import NOISE_PARAMETERS, CircuitNoise, depolarizing, memory_circuit
from scripts.benchmarks.results import write_table

CLASSES = ("prep", "meas", "idle_cnot", "idle_spam", "cnot")
INNER = ("pymatching", "pymatching-correlated")
MODELS = ("oracle", "ema", "static", "pooled", "guess")


def drifting_noise(when: float, *, p: float, amplitude: float, phases: np.ndarray) -> CircuitNoise:
    """Noise at time `when` in [0, 1) of the run; phases in periods, one per class."""
    base = depolarizing(p)
    swing = {
        name: math.exp(amplitude * math.sin(2 * math.pi * (when + phase)))
        for name, phase in zip(CLASSES, phases, strict=True)
    }
    return CircuitNoise(
        **{name: getattr(base, name) * swing[name.rpartition("_")[0]] for name in NOISE_PARAMETERS}
    )


def measure(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run: errors of every block, decoder and model, and what the tracker did."""
    rng = np.random.default_rng(seed)
    phases = rng.permutation(len(CLASSES)) / len(CLASSES) + rng.random()
    size = {"distance": options.distance, "rounds": options.rounds}
    model = SharedParameterModel.of_memory(**size, guess=depolarizing(options.p))

    def circuit(block: int) -> stim.Circuit:
        noise = drifting_noise(
            block / options.blocks, p=options.p, amplitude=options.amplitude, phases=phases
        )
        return memory_circuit(**size, noise=noise)

    def sample(block: int) -> tuple[np.ndarray, np.ndarray]:
        sampler = circuit(block).compile_detector_sampler(seed=1000 * seed + block)
        detections, truth = sampler.sample(options.block_shots, separate_observables=True, bit_packed=True)
        return detections, truth

    moments = [
        Moments.from_shots(model.structure.subsets, sample(block)[0]) for block in range(options.blocks)
    ]
    tracker = NoiseTracker(
        model.structure,
        lambda average: fit_shared_parameters(average, model),
        predict=shared_parameter_predictor(model),
    )
    tracked = tracker.update_moments(moments[0])
    fixed = {
        "static": fit_shared_parameters(moments[0], model).dem(),
        "pooled": fit_shared_parameters(sum(moments[1:], start=moments[0]), model).dem(),
        "guess": _dem(memory_circuit(**size, noise=depolarizing(options.p))),
    }
    decoders = {name: _compile(dem) for name, dem in fixed.items()}
    blocks = []
    for block in range(1, options.blocks):
        decoders |= {
            "oracle": _compile(_dem(circuit(block))),
            "ema": _compile(tracked.dem),
        }
        detections, truth = sample(block)
        wrong = {
            name: [
                (d.decode_shots_bit_packed(bit_packed_detection_event_data=detections) != truth).any(axis=1)
                for d in decoders[name]
            ]
            for name in MODELS
        }
        blocks.append(_row(wrong, tracked))
        tracked = tracker.update_moments(moments[block])
        print(f"seed {seed}, block {block} of {options.blocks - 1}: {blocks[-1]}", flush=True)
    settings = {name: getattr(options, name) for name in SETTINGS}
    return {"seed": seed, **settings, "phases": phases.tolist(), "blocks": blocks}


def _row(wrong: dict[str, list[np.ndarray]], tracked: TrackedNoise) -> dict[str, Any]:
    oracle = wrong["oracle"]
    return {
        "window": tracked.window_shots if math.isfinite(tracked.window_shots) else None,
        "effective_shots": tracked.effective_shots,
        "errors": {name: [int(w.sum()) for w in each] for name, each in wrong.items()},
        "discordant": {
            name: [[int((w & ~o).sum()), int((o & ~w).sum())] for w, o in zip(each, oracle, strict=True)]
            for name, each in wrong.items()
        },
    }


def _dem(circuit: stim.Circuit) -> stim.DetectorErrorModel:
    return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)


def _compile(dem: stim.DetectorErrorModel) -> list[sinter.CompiledDecoder]:
    return [make_decoder(inner).compile_decoder_for_dem(dem=dem) for inner in INNER]


def report(runs: list[dict[str, Any]]) -> str:
    """The table as Markdown: mean over seeds of the ratio, and twice its standard error."""
    lines = [
        "| model | decoder | seeds | shots | oracle errors | only this wrong | only oracle wrong "
        "| ratio | + 2 SE | of each seed |",
        "|" + "---|" * 10,
    ]
    shots = sum(len(run["blocks"]) * run["block_shots"] for run in runs)
    for name in MODELS[1:]:
        for k, inner in enumerate(INNER):
            errors = np.array([_total(run, "errors", name, k) for run in runs])
            oracle = np.array([_total(run, "errors", "oracle", k) for run in runs])
            discordant = np.sum([_total(run, "discordant", name, k) for run in runs], axis=0)
            ratios = errors / oracle
            spread = 2 * ratios.std(ddof=1) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
            lines.append(
                f"| {name} | {inner} | {len(runs)} | {shots} | {oracle.sum()} | {discordant[0]} "
                f"| {discordant[1]} | {ratios.mean():.4f} | {ratios.mean() + spread:.4f} "
                f"| {' '.join(f'{r:.3f}' for r in ratios)} |"
            )
    return "\n".join(lines)


def windows_chosen(runs: list[dict[str, Any]]) -> str:
    """Which windows the tracker chose, of all runs, from the third block on; empty if there is none."""
    blocks = [block for run in runs for block in run["blocks"][2:]]
    if not blocks:
        return ""
    windows = [math.inf if block["window"] is None else block["window"] for block in blocks]
    effective = np.median([block["effective_shots"] for block in blocks])
    return (
        f"Window chosen (blocks from the third on): median {np.median(windows):.0f} shots, "
        f"{min(windows):.0f} to {max(windows):.0f}; N_eff median {effective:.0f}."
    )


def _total(run: dict[str, Any], key: str, name: str, inner: int) -> np.ndarray:
    return np.sum([block[key][name][inner] for block in run["blocks"]], axis=0)


SETTINGS = ("distance", "rounds", "p", "amplitude", "block_shots")


def is_same(run: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a run was measured with these settings; block 0 only learns, so it has no row."""
    settings = all(run[name] == getattr(options, name) for name in SETTINGS)
    return settings and len(run["blocks"]) == options.blocks - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, nargs="?", const=Path("docs/results/drift.md"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--distance", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--p", type=float, default=0.004)
    parser.add_argument("--amplitude", type=float, default=1.2)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--block-shots", type=int, default=20_000)
    options = parser.parse_args()

    lines = options.out.read_text().splitlines() if options.out.exists() else []
    runs = [json.loads(line) for line in lines]
    same = [run for run in runs if is_same(run, options)]
    if options.report and not same:
        parser.error(f"{options.out} has no run with these settings ({len(runs)} with others)")
    done = {run["seed"] for run in same}
    for seed in range(options.seeds) if not options.report else ():
        if seed not in done:
            same.append(measure(seed, options))
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a") as file:
                file.write(json.dumps(same[-1]) + "\n")
    if options.report:
        write_table(options.report, report(same))
    print(report(same), windows_chosen(same), sep="\n\n")


if __name__ == "__main__":
    main()
