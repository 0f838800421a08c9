"""What `qecpipe train --config FILE.toml` reads."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from predecoder.correction import Policies
from predecoder.network import NetworkConfig

__all__ = ["DataConfig", "OptimizerConfig", "TaskConfig", "TrainConfig", "load_config"]

Labels = Literal["sampled", "teacher", "conditioned", "distilled"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class TaskConfig:
    """One family of training shots; every basis and orientation becomes a stream of batches.

    Attributes:
        distance, rounds: size of the memory experiment.
        p: physical error rate of `noise`.
        noise: 'depolarizing', 'si1000', 'uniform-stim', a TOML file of 25 parameters (p unused), or 'varied':
            random ones that fire about as many detectors as depolarizing noise of the same p, up to 0.02.
        variants: of 'varied' noise, how many; every one has streams of its own.
        perfect_last_round: the last round is without noise, as in the paper's counts.
        bases: any of 'x' and 'z'.
        orientations: any of 'XV', 'XH', 'ZV', 'ZH'; 'uniform-stim' has one orientation only.
        dem: a .dem file to train on instead of a circuit; nothing else of the task is used.
        weight: how often a batch is drawn from this task, relative to the others.
        contested: only shots on which plain and correlated PyMatching disagree about an observable.
            They are where failures are decided, and rare. Which shots these are is a function of the
            syndrome alone, so it does not bias what is learnt about the labels of a syndrome.
        begins: step from which on batches are drawn from this task; a step, however many processes share it.
    """

    distance: int = 9
    rounds: int = 9
    p: float = 0.006
    noise: str = "depolarizing"
    variants: int = 1
    perfect_last_round: bool = False
    bases: tuple[str, ...] = ("x", "z")
    orientations: tuple[str, ...] = ("XV", "XH", "ZV", "ZH")
    dem: str | None = None
    weight: float = 1.0
    contested: bool = False
    begins: int = 0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"task weight={self.weight!r} is not positive; remove the task instead")
        if not self.bases or not self.orientations:
            raise ValueError(
                f"task has bases={self.bases!r}, orientations={self.orientations!r}; name at least one"
            )
        for name in ("contested", "perfect_last_round"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"task {name}={getattr(self, name)!r} is not true or false")
        if not isinstance(self.variants, int) or isinstance(self.variants, bool) or self.variants < 1:
            raise ValueError(f"task variants={self.variants!r} is not a whole number from 1 on")
        if self.variants > 1 and self.noise != "varied":
            raise ValueError(
                f"task has variants={self.variants} of noise={self.noise!r}; only 'varied' noise has several"
            )
        if self.noise == "varied" and self.dem is not None:
            raise ValueError(f"task has both noise='varied' and dem={self.dem!r}; give one of them")
        if self.noise == "varied" and not 0 < self.p <= 0.02:
            raise ValueError(f"task p={self.p!r} of noise='varied' is not above 0 and at most 0.02")
        if self.perfect_last_round and self.noise == "uniform-stim":
            raise ValueError("noise='uniform-stim' has no perfect_last_round; use 'depolarizing'")
        if not isinstance(self.begins, int) or self.begins < 0:
            raise ValueError(f"task begins={self.begins!r} is not a step 0, 1, ...")


@dataclass(frozen=True)
class DataConfig:
    """Where batches come from.

    Attributes:
        labels: 'teacher' (correlated PyMatching, made unique), 'conditioned' (the same, given the true
            observables), 'sampled' (the mechanisms that fired) or 'distilled' (the probabilities that
            a trained network gives).
        network: that network's weights, a shipped name or a path.
        blocks_per_batch: size of a batch in blocks of 2 layers by 2 x 2 ancillas, so that batches of
            all distances cost the same.
        workers: processes that make batches, for each one that trains.
    """

    labels: Labels = "teacher"
    network: str = "accurate"
    blocks_per_batch: int = 16_000
    workers: int = 1

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise ValueError(f"data labels={self.labels!r} is unknown; use one of {get_args(Labels)}")
        for name in ("blocks_per_batch", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"data {name}={getattr(self, name)!r} is less than 1")


@dataclass(frozen=True)
class OptimizerConfig:
    """Muon on convolutions, AdamW on biases; warm-up, constant rate, linear decay to zero.

    Attributes:
        steps: length of the schedule; each takes one batch of every process that trains.
        stop: step after which the run ends, for another one to go on from; 0 for the schedule's end.
        learning_rate: at the plateau.
        warmup_steps: linear rise from zero.
        decay_fraction: last part of the steps, over which the rate falls linearly to zero. Raising
            `steps` before it starts extends a run without a trace.
        ema_decay: of the averaged weights, the ones that are kept.
        max_gradient_norm: gradients are clipped to it.
    """

    steps: int = 20_000
    stop: int = 0
    learning_rate: float = 4e-3
    warmup_steps: int = 200
    decay_fraction: float = 0.35
    ema_decay: float = 0.998
    max_gradient_norm: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.stop, int) or not 0 <= self.stop <= self.steps:
            raise ValueError(f"optimizer stop={self.stop!r} is not a step from 0 to steps={self.steps!r}")

    @property
    def last_step(self) -> int:
        """Number of steps that are done in all."""
        return self.stop or self.steps

    def rate_at(self, step: int) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay_fraction * self.steps))
        return self.learning_rate * rise * fall


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        name: of the run and of the weights it makes.
        seed: of the initial weights and of every batch.
        init: weights file to start from, or nothing. It may have fewer residual blocks than `network`,
            or no geometry: the last blocks then begin as the identity, the geometry as zero.
        checkpoint_seconds: time between checkpoints.
        policies: stored with the weights; they have no part in training.
    """

    name: str
    seed: int = 1
    init: str | None = None
    checkpoint_seconds: float = 120.0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    policies: Policies = field(default_factory=Policies)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tasks: tuple[TaskConfig, ...] = (TaskConfig(),)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"run {self.name!r} has no tasks; name at least one")
        first = min(task.begins for task in self.tasks)
        if first > 0:
            raise ValueError(f"the first task begins at step {first}; at least one must begin at 0")


def load_config(path: str | Path) -> TrainConfig:
    """Reads a TOML file with the fields of `TrainConfig`; `tasks` is an array of tables.

    Raises:
        ValueError: not TOML, an unknown key, a value of the wrong type or out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    tasks = table.pop("tasks", [{}])
    parts = {
        "network": _build(NetworkConfig, table.pop("network", {}), f"{path} [network]"),
        "policies": _policies(table.pop("policies", {}), f"{path} [policies]"),
        "optimizer": _build(OptimizerConfig, table.pop("optimizer", {}), f"{path} [optimizer]"),
        "data": _build(DataConfig, table.pop("data", {}), f"{path} [data]"),
        "tasks": tuple(_build(TaskConfig, task, f"{path} [[tasks]]") for task in tasks),
    }
    return _build(TrainConfig, {"name": path.stem, **table, **parts}, str(path))


def _policies(table: dict[str, Any], where: str) -> Policies:
    try:
        return Policies.from_dict(table)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _build(kind: type[_T], table: dict[str, Any], where: str) -> _T:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for key in table:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}; known keys are {', '.join(fields)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for key, value in values.items():
        default = fields[key].default
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{where}: {key}={value!r} is not a number")
    return kind(**values)
