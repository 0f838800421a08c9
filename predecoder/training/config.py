"""A training run in typed objects: stages, and what each of them is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from predecoder.correction import Policies
from predecoder.network import DenseConfig, NetworkConfig
from predecoder.training.reuse import Reuse
from predecoder.training.tasks import TaskConfig

__all__ = ["ClassLossConfig", "DataConfig", "OptimizerConfig", "StageConfig", "TrainConfig"]

Labels = Literal["sampled", "teacher", "observable-conditioned", "distilled"]
Loss = Literal["marginal", "logical-class"]
By = Literal["workers", "trainer"]
TeacherDecoder = Literal["neural-matching", "neural-ensemble"]


_MOST_LOOKS = 1_000_000
"""Batches that the trainer may look at for each one that it learns from."""


@dataclass(frozen=True)
class DataConfig:
    """Where batches come from.

    Attributes:
        labels: 'teacher' (correlated PyMatching, made unique), 'observable-conditioned' (the same, given the
            true observables), 'sampled' (the mechanisms that fired) or 'distilled' (the probabilities that
            a trained network gives).
        network: that network's weights, a shipped name or a path.
        blocks_per_batch: size of a batch in blocks of 2 layers by 2 x 2 ancillas, so that batches of
            all distances cost the same.
        passes: how often a batch is used, many others in between (`reuse`).
        pool: batches that are held to be used again. A run that goes on from a checkpoint makes them anew.
        batches_per_step: batches whose gradients are averaged in a step; the device computes one's logits
            while others are matched.
        workers: processes that make batches, for each one that trains; 0 for none but that one itself.
            Batches do not depend on it.
        distilled_by: who runs the network of 'distilled' labels: the 'workers' on CPUs, or the 'trainer' on
            its own device, where that is a GPU.
    """

    labels: Labels = "teacher"
    network: str = "accurate"
    blocks_per_batch: int = 16_000
    passes: int = 1
    pool: int = 64
    batches_per_step: int = 1
    workers: int = 1
    distilled_by: By = "workers"

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise ValueError(f"data labels={self.labels!r} is unknown; use one of {get_args(Labels)}")
        if self.distilled_by not in get_args(By):
            raise ValueError(f"data distilled_by={self.distilled_by!r} is unknown; use one of {get_args(By)}")
        for name in ("blocks_per_batch", "passes", "pool", "batches_per_step", "workers"):
            least = 0 if name == "workers" else 1
            if getattr(self, name) < least:
                raise ValueError(f"data {name}={getattr(self, name)!r} is less than {least}")
        if self.pool < self.passes > 1:
            raise ValueError(f"data pool={self.pool} is less than passes={self.passes}; hold as many or more")

    @property
    def reuse(self) -> Reuse:
        """Which batch is used when."""
        return Reuse(self.passes, self.pool)


@dataclass(frozen=True)
class OptimizerConfig:
    """Warm-up, constant rate, linear decay to zero.

    Attributes:
        method: 'muon' (on convolutions, with AdamW on biases) or 'adamw' (on all).
        steps: length of the schedule; each takes `data.batches_per_step` batches of every process.
        stop: step after which the stage ends, for another one to go on from; 0 for the schedule's end.
        learning_rate: at the plateau.
        warmup_steps: linear rise from zero.
        decay_fraction: last part of the steps, over which the rate falls linearly to zero. Raising
            `steps` before it starts extends a run without a trace.
        ema_decay: of the averaged weights, the ones that are kept.
        max_gradient_norm: gradients are clipped to it.
        precision: 'float32', or 'bfloat16' for the residual blocks of a dense network: faster where the
            processor multiplies such numbers, as GPUs and CPUs with AMX or AVX-512 BF16 do, slower elsewhere.
            Weights, gradients and all that is made of them are float32 either way.
    """

    method: Literal["muon", "adamw"] = "muon"
    steps: int = 20_000
    stop: int = 0
    learning_rate: float = 4e-3
    warmup_steps: int = 200
    decay_fraction: float = 0.35
    ema_decay: float = 0.998
    max_gradient_norm: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(
                f"optimizer precision={self.precision!r} is unknown; use 'float32' or 'bfloat16'"
            )
        if self.method not in ("muon", "adamw"):
            raise ValueError(f"optimizer method={self.method!r} is unknown; use 'muon' or 'adamw'")
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
class ClassLossConfig:
    """Settings of stages that train on the logical class.

    Attributes:
        marginal_weight: of the cross-entropy to the labels, in nats per shot, beside the class's.
        removal_weight: the same of a removal head's logits, where the network has one.
        small_gap: nats between the network's two classes below which a mined shot is kept.
        plain_gap: nats between those of plain matching from which on a shot is not looked at.
        mine_every: steps after which shots are mined with newer weights.
        miner: weights to mine with in place of the network in training, a shipped name or a path: a small
            network doubts nearly all shots that a large one fails on, and takes a tenth of the time.
        mined_by: who finds the shots of mined tasks: 'workers', by both matchers and the miner, on CPUs; or
            the 'trainer', whose device computes the logits of all shots, by small gaps of the network in
            training (`device_mining`). A task's weight is then how often its shots are looked at.
        looks: batches' worth of shots that the trainer looks at together.
        teacher: weights whose matching gives every shot's flip a probability, which is learnt beside the
            truth: a shipped name or a path; none if empty.
        teacher_decoder: who speaks for the teacher: 'neural-matching', its matching alone, or
            'neural-ensemble', which sees the shot backwards too and hears correlated matching.
        teacher_weight: of the cross-entropy to that probability, 0 to 1; the truth has the rest.
        teacher_scale: what the teacher's gap is multiplied with, to be its log-odds: 1 if it is calibrated.
        threads: of the trainer that match. What is learnt does not depend on it.
    """

    marginal_weight: float = 0.02
    removal_weight: float = 0.1
    small_gap: float = 2.0
    plain_gap: float = 6.0
    mine_every: int = 100
    miner: str = ""
    mined_by: By = "workers"
    looks: int = 8
    teacher: str = ""
    teacher_decoder: TeacherDecoder = "neural-matching"
    teacher_weight: float = 0.7
    teacher_scale: float = 1.0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_weight <= 1:
            raise ValueError(f"class_loss teacher_weight={self.teacher_weight!r} is not from 0 to 1")
        if not self.teacher_scale > 0:
            raise ValueError(f"class_loss teacher_scale={self.teacher_scale!r} is not positive")
        for name in ("marginal_weight", "removal_weight", "small_gap", "plain_gap"):
            if getattr(self, name) < 0:
                raise ValueError(f"class_loss {name}={getattr(self, name)!r} is negative")
        for name, kind in (("mine_every", "step"), ("threads", "number of threads"), ("looks", "number")):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"class_loss {name}={value!r} is not a {kind} 1, 2, ...")
        for name, known in (("mined_by", By), ("teacher_decoder", TeacherDecoder)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"class_loss {name}={getattr(self, name)!r} is unknown; use one of {get_args(known)}"
                )
        if self.mined_by == "trainer" and self.miner:
            raise ValueError(
                f"class_loss miner={self.miner!r}, but mined_by='trainer' mines with the network in "
                "training; leave one out"
            )


@dataclass(frozen=True)
class StageConfig:
    """One stage: a network that goes through one schedule.

    Attributes:
        name: of the stage; its work folder has it.
        seed: of the initial weights and of every batch.
        init: weights to start from, a shipped name or a file; by default those of the stage before. They may
            have fewer residual blocks than `network`, no patch embedding, no noise features and no ranges for
            int8: what is new then begins without effect.
        loss: 'marginal', the cross-entropy of every move to its label; or 'logical-class', the cost of the
            true logical class over the other's (`logical_class`), beside a little of the first.
        checkpoint_seconds: time between checkpoints.
        policies: stored with the weights; they have no part in training.
    """

    name: str
    tasks: tuple[TaskConfig, ...]
    seed: int = 1
    init: str | None = None
    loss: Loss = "marginal"
    checkpoint_seconds: float = 120.0
    network: NetworkConfig = field(default_factory=DenseConfig)
    policies: Policies = field(default_factory=Policies)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    class_loss: ClassLossConfig = field(default_factory=ClassLossConfig)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"stage {self.name!r} has no tasks; name at least one in [[tasks]]")
        if self.loss not in get_args(Loss):
            raise ValueError(f"stage {self.name!r} has loss={self.loss!r}; use one of {get_args(Loss)}")
        if self.optimizer.precision == "bfloat16" and not isinstance(self.network, DenseConfig):
            raise ValueError(
                f"stage {self.name!r} has optimizer precision='bfloat16' and a network of "
                f"family={self.network.family!r}; only dense networks train in it, use 'float32'"
            )
        if self.data.labels != "distilled" and any(task.recorded for task in self.tasks):
            raise ValueError(
                f"stage {self.name!r} trains on recorded shots with data labels={self.data.labels!r}; their "
                "moves are not known, use 'distilled'"
            )
        if self.trainer_mines:
            self._check_trainer_mines()
        first = min(task.begins for task in self.tasks)
        if first > 0:
            raise ValueError(f"the first task begins at step {first}; at least one must begin at 0")

    def _check_trainer_mines(self) -> None:
        for wrong, said in (
            (self.loss != "logical-class", f"loss={self.loss!r}; use 'logical-class'"),
            (
                self.data.labels != "distilled" or self.data.distilled_by != "trainer",
                f"data labels={self.data.labels!r} distilled_by={self.data.distilled_by!r}; use 'distilled' "
                "and 'trainer', which then labels what it keeps",
            ),
            (self.data.passes > 1, f"data passes={self.data.passes}; use 1"),
            (bool(self.class_loss.teacher), f"class_loss teacher={self.class_loss.teacher!r}; use none"),
            (any(task.begins for task in self.tasks), "a task that begins later; use a stage for it"),
        ):
            if wrong:
                raise ValueError(f"stage {self.name!r} has class_loss mined_by='trainer' and {said}")

    @property
    def trainer_mines(self) -> bool:
        """Whether the trainer looks for the shots of mined tasks."""
        return self.class_loss.mined_by == "trainer" and any(task.shots == "mined" for task in self.tasks)

    @property
    def mines(self) -> bool:
        """Whether workers need the network in training."""
        own = self.class_loss.mined_by == "workers" and not self.class_loss.miner
        return own and any(task.shots == "mined" for task in self.tasks)

    @property
    def made_per_step(self) -> int:
        """Numbers of batches that workers may make for a step, at most; each number has shots of its own."""
        return self.data.batches_per_step * (_MOST_LOOKS if self.trainer_mines else 1)

    @property
    def class_teacher(self) -> str:
        """Weights whose logical classes are learnt; empty if none are."""
        return self.class_loss.teacher if self.loss == "logical-class" else ""


@dataclass(frozen=True)
class TrainConfig:
    """Weights and how they are made, stage by stage, each from where the one before ended."""

    name: str
    stages: tuple[StageConfig, ...]

    @property
    def policies(self) -> Policies:
        """Policies of the weights that the last stage makes."""
        return self.stages[-1].policies

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names:
            raise ValueError(f"{self.name!r} has no stages")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{self.name!r} has several stages of the name {sorted(twice)[0]!r}")
