"""Weights that ship, adapted to a device: by its DEM alone, or by the logical flips that it measured.

The loss is that of the logical class, which needs no more of a shot than its detections and its flips. Of the
recorded shots, the last ones are held back: they choose the step that is kept, and nothing else.

Shape legend: B shots, D detectors, O observables.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import stim
import torch

from predecoder.inference import EngineOptions
from predecoder.neural_matching import CompiledNeuralMatching
from predecoder.training.config import ClassLossConfig, DataConfig, OptimizerConfig, StageConfig
from predecoder.training.loop import StepReport, train_stage
from predecoder.training.recorded import RecordedShots
from predecoder.training.tasks import TaskConfig
from predecoder.weights import load_bundle, resolve_weights, save_weights
from qec import DecodingProblem, file_sha256, locked

__all__ = ["Check", "FineTuneConfig", "Recording", "fine_tune"]

_SIMULATED_SEED = 20_271_001
"""Of the shots that choose the step where no flips are known."""


@dataclass(frozen=True)
class Recording:
    """Shots of one circuit.

    Attributes:
        dem: file of its DEM, from the circuit or learned from shots that may be trained on.
        shots: those to train on and those that are held back, by number; None to sample the DEM instead.
    """

    dem: Path
    shots: RecordedShots | None = None


@dataclass(frozen=True)
class FineTuneConfig:
    """How to adapt.

    Attributes:
        weights: where to begin, a shipped name or a file.
        steps: of training in all.
        checks: how often the shots held back are decoded, evenly spaced over the steps.
        held_back: share of the recorded shots that choose the step; the last ones.
        learning_rate: at its plateau; it falls linearly to zero over the second half.
        precision: see `OptimizerConfig`.
        blocks_per_batch: see `DataConfig`.
        seed: of the batches.
    """

    weights: str = "accurate"
    steps: int = 1200
    checks: int = 8
    held_back: float = 0.1
    learning_rate: float = 3e-4
    precision: Literal["float32", "bfloat16"] = "float32"
    blocks_per_batch: int = 12_000
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.held_back <= 0.5:
            raise ValueError(f"held_back={self.held_back!r} is no share above 0 and up to 1/2 of the shots")
        if not 1 <= self.checks <= self.steps:
            raise ValueError(f"checks={self.checks!r} is not from 1 to steps={self.steps!r}")


@dataclass(frozen=True)
class Check:
    """What the shots held back said.

    Attributes:
        step: after so many steps; 0 for the weights as they were.
        errors, shots: of all recordings' shots held back.
    """

    step: int
    errors: int
    shots: int


def fine_tune(
    recordings: Sequence[Recording],
    config: FineTuneConfig,
    work_dir: Path,
    *,
    on_step: Callable[[StepReport], None] = lambda _: None,
    on_check: Callable[[Check], None] = lambda _: None,
) -> tuple[Path, list[Check]]:
    """Train, decode the shots held back at every check, and keep the weights with the fewest errors.

    Checkpoints and weights go to `work_dir`; killed at any time, a second call goes on from the last one.

    Returns:
        the weights that were kept (those to begin with, if none are better), and all checks.

    Raises:
        ValueError: no recordings, a DEM that the network cannot be used on, or `work_dir` is of other
            recordings or settings.
        ShotFileError: see `RecordedShots.read`.
    """
    if not recordings:
        raise ValueError("there are no recordings to learn from; give at least one")
    work_dir.mkdir(parents=True, exist_ok=True)
    busy = f"{work_dir} is in use by another run; wait for it or choose another one"
    with locked(work_dir / ".lock", busy=busy):
        _claim(work_dir, recordings, config)
        held_back = [_HeldBack.of(recording, config) for recording in recordings]
        start = resolve_weights(config.weights).path
        best, checks = start, [_check(0, start, held_back)]
        on_check(checks[0])
        stage = _stage(recordings, config, held_back)
        for check in range(1, config.checks + 1):
            step = config.steps * check // config.checks
            made = work_dir / f"step-{step}.safetensors"
            if not made.exists():
                part = dataclasses.replace(stage, optimizer=dataclasses.replace(stage.optimizer, stop=step))
                network = train_stage(
                    part, work_dir / "training", device=torch.device("cpu"), on_step=on_step
                )
                save_weights(network, made, {"step": step}, policies=stage.policies)
            checks.append(_check(step, made, held_back))
            on_check(checks[-1])
            if checks[-1].errors < min(c.errors for c in checks[:-1]):
                best = made
    return best, checks


def _claim(work_dir: Path, recordings: Sequence[Recording], config: FineTuneConfig) -> None:
    """Leave in the work folder what it is for; weights in it are of that alone."""
    files = {file for r in recordings for file in (r.dem, *(r.shots.files if r.shots else ()))}
    described = {
        "recordings": [dataclasses.asdict(r) | {"dem": str(r.dem)} for r in recordings],
        "config": dataclasses.asdict(config),
        "sha256": {str(file): file_sha256(file) for file in sorted(files)},
        "weights": resolve_weights(config.weights).sha256,
    }
    text = json.dumps(described, indent=2) + "\n"
    file = work_dir / "fine-tune.json"
    if file.exists() and file.read_text() != text:
        raise ValueError(
            f"{work_dir} has a run of other data or settings, see {file.name} there; use another one"
        )
    file.write_text(text)


def _stage(
    recordings: Sequence[Recording], config: FineTuneConfig, held_back: Sequence[_HeldBack]
) -> StageConfig:
    """One stage over all recordings, each up to the shots held back."""
    bundle = load_bundle(config.weights)
    without_reset = bundle.policies.without_reset or any(held.problem.lacks_reset for held in held_back)
    tasks = []
    for recording, held in zip(recordings, held_back, strict=True):
        if recording.shots is None:
            tasks.append(TaskConfig(dem=str(recording.dem), shots="mined"))
        else:
            kept = dataclasses.replace(recording.shots, last=held.first)
            tasks.append(TaskConfig(dem=str(recording.dem), recorded=kept))
    return StageConfig(
        name="fine-tune",
        seed=config.seed,
        init=str(resolve_weights(config.weights).path),
        loss="logical-class",
        network=bundle.network.config,
        policies=dataclasses.replace(bundle.policies, without_reset=without_reset),
        optimizer=OptimizerConfig(
            method="adamw",
            steps=config.steps,
            learning_rate=config.learning_rate,
            warmup_steps=20,
            decay_fraction=0.5,
            ema_decay=0.98,
            precision=config.precision,
        ),
        data=DataConfig(
            labels="distilled",
            network=str(resolve_weights(config.weights).path),
            blocks_per_batch=config.blocks_per_batch,
        ),
        class_loss=ClassLossConfig(miner=str(resolve_weights(config.weights).path)),
        tasks=tuple(tasks),
    )


@dataclass(frozen=True)
class _HeldBack:
    """Shots that choose the step.

    Attributes:
        first: number of the first one in the recording's files; those before it are trained on.
    """

    problem: DecodingProblem
    packed: np.ndarray
    flips: np.ndarray
    first: int

    @classmethod
    def of(cls, recording: Recording, config: FineTuneConfig) -> _HeldBack:
        problem = DecodingProblem.from_dem(stim.DetectorErrorModel.from_file(recording.dem))
        if recording.shots is None:
            shots = round(10_000 * config.held_back)
            sampler = problem.dem.compile_sampler(seed=_SIMULATED_SEED)
            packed, flips, _ = sampler.sample(shots, bit_packed=True)
            return cls(problem, packed, flips, 0)
        packed, flips = recording.shots.read(problem.layout)
        kept = round(len(packed) * (1 - config.held_back))
        if not 0 < kept < len(packed):
            raise ValueError(
                f"{recording.shots.detections}: {config.held_back:g} of {len(packed)} shots leaves nothing "
                "to learn from or to choose by; give more shots"
            )
        first = recording.shots.first + kept * recording.shots.every
        return cls(problem, packed[kept:], flips[kept:], first)

    def errors(self, weights: Path) -> int:
        """Shots of which any observable is predicted wrongly."""
        network = load_bundle(weights).network
        decoder = CompiledNeuralMatching(self.problem, network, EngineOptions("cpu"))
        predicted = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=self.packed)
        return int((predicted != self.flips).any(axis=1).sum())


def _check(step: int, weights: Path, held_back: Sequence[_HeldBack]) -> Check:
    return Check(step, sum(h.errors(weights) for h in held_back), sum(len(h.packed) for h in held_back))
