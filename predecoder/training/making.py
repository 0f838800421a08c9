"""What a worker does: draw a stream, sample its shots, keep those that are wanted, label them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from predecoder.inference import Engine, EngineOptions, make_engine
from predecoder.network import Network, make_network
from predecoder.training.config import StageConfig
from predecoder.training.distilled import ClassTeacher, DistilledLabels, EnsembleTeacher
from predecoder.training.labels import (
    Keep,
    ObservableConditionedLabels,
    SampledLabels,
    TeacherLabels,
    UnlabelledShots,
)
from predecoder.training.processes import ALONE, Processes
from predecoder.training.recorded import RecordedSource
from predecoder.training.shot_selection import DisagreementShots, MinedShots, ShotMatchers
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import Stream, expand_tasks
from predecoder.weights import load_network

__all__ = ["BatchMaker", "Made"]

_SOURCES = {
    "sampled": SampledLabels,
    "teacher": TeacherLabels,
    "observable-conditioned": ObservableConditionedLabels,
}
_Source = SampledLabels | TeacherLabels | DistilledLabels | RecordedSource | UnlabelledShots


class Made(NamedTuple):
    """A batch on its way to the trainer.

    Attributes:
        stream: number of the stream.
        packed: detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first.
        labels: of moves, bit-packed uint8 `(B, ceil(moves / 8))` MSB first, or float16 `(B, moves)`;
            `(B, 0)` where the trainer makes them.
        observables: the true flips, bit-packed uint8 `(B, ceil(num_observables / 8))` LSB first.
        teacher_gaps: how much more class 1 of an observable costs than class 0 on the class teacher's logits,
            in nats, float32 `(B, num_observables)`; None without one.
    """

    stream: int
    packed: np.ndarray
    labels: np.ndarray
    observables: np.ndarray
    teacher_gaps: np.ndarray | None


class BatchMaker:
    """Makes the batch of any step of a stage; what it needs of a stream is kept."""

    def __init__(
        self, stage: StageConfig, *, snapshots: Snapshots | None = None, processes: Processes = ALONE
    ) -> None:
        """`snapshots` hold the weights to mine with, unless the stage names others."""
        self._streams, self._weights = expand_tasks(stage.tasks)
        self._begins = np.array([stream.task.begins for stream in self._streams])
        self._sources: dict[int, _Source] = {}
        self._disagreement: dict[int, DisagreementShots] = {}
        self._stage, self._processes = stage, processes
        self._class_teachers: dict[int, ClassTeacher | EnsembleTeacher] = {}
        self._miner = _Miner(stage, snapshots)

    def __call__(self, batch: int) -> Made:
        """Batch number `batch` of this process, which is that of a step where batches are used once."""
        torch.set_num_threads(1)  # in this worker, beside the trainer
        data = self._stage.data
        step = data.reuse.first_use(batch) // self._stage.made_per_step
        k = batch * self._processes.world_size + self._processes.rank
        rng = np.random.default_rng([self._stage.seed, k])
        weights = np.where(self._begins <= step, self._weights, 0)
        index = int(rng.choice(len(self._streams), p=weights / weights.sum()))
        stream = self._streams[index]
        if index not in self._sources:
            self._sources[index] = self._source(stream)
        looked_at = self._stage.trainer_mines and stream.task.shots == "mined"
        looks = self._stage.class_loss.looks if looked_at else 1
        shots = stream.batch_shots(looks * data.blocks_per_batch)
        seed, keep = int(rng.integers(2**62)), self._keep(index, step)
        try:
            packed, labels, observables = self._sources[index].sample(shots, seed=seed, keep=keep)
        except ValueError as error:
            raise ValueError(
                f"task {stream.name}: {error}; raise p, or use shots='all' in this task"
            ) from None
        labels = np.packbits(labels, axis=1) if labels.dtype == np.uint8 else labels
        gaps = self._teacher_gaps(index, packed) if self._stage.class_teacher else None
        return Made(index, packed, labels, observables, gaps)

    def _keep(self, index: int, step: int) -> Keep | None:
        stream = self._streams[index]
        left_to_trainer = stream.task.shots == "mined" and self._stage.trainer_mines
        if stream.task.shots == "all" or left_to_trainer:
            return None
        if stream.task.shots == "mined":
            return self._miner.keep(index, stream, step)
        if index not in self._disagreement:
            self._disagreement[index] = DisagreementShots(stream.dem)
        return self._disagreement[index]

    def _source(self, stream: Stream) -> _Source:
        data, recorded = self._stage.data, stream.task.recorded
        if data.labels != "distilled":
            return _SOURCES[data.labels](stream.problem)
        if data.distilled_by == "trainer":
            if recorded is None:
                return UnlabelledShots(stream.dem)
            return RecordedSource(recorded, stream.problem.layout, label=None)
        labels = DistilledLabels(stream.problem, load_network(data.network))
        if recorded is None:
            return labels
        return RecordedSource(recorded, stream.problem.layout, label=labels.label)

    def _teacher_gaps(self, index: int, packed: np.ndarray) -> np.ndarray:
        if index not in self._class_teachers:
            self._class_teachers[index] = self._class_teacher(self._streams[index], self._sources[index])
        return self._class_teachers[index](packed)

    def _class_teacher(self, stream: Stream, source: _Source) -> ClassTeacher | EnsembleTeacher:
        name = self._stage.class_teacher
        if self._stage.class_loss.teacher_decoder == "neural-ensemble":
            return EnsembleTeacher(stream.problem, name)
        of_labels = None
        if isinstance(source, DistilledLabels) and self._stage.data.network == name:
            of_labels = source.logits if source.logits_are_matched else None
        return ClassTeacher(stream.problem, name, logits=of_labels)


class _Miner:
    """The network that mines the shots of a step, on the streams that are asked for.

    It is that of `class_loss.miner`, or the one in training as it was at the step's snapshot.
    """

    def __init__(self, stage: StageConfig, snapshots: Snapshots | None) -> None:
        self._stage, self._snapshots = stage, snapshots
        self._matchers: dict[int, ShotMatchers] = {}
        self._engines: dict[int, Engine] = {}
        self._network: Network | None = None
        self._source_step = -1

    def keep(self, index: int, stream: Stream, step: int) -> MinedShots:
        """The rule for one stream at one step."""
        network, settings = self._network_of(step, stream), self._stage.class_loss
        if index not in self._matchers:
            self._matchers[index] = ShotMatchers.of(stream.problem)
        if index not in self._engines:
            # In training not in int8: the ranges that it needs are measured when a stage ends.
            precision = "auto" if settings.miner else "float32"
            self._engines[index] = make_engine(
                stream.problem, network, EngineOptions("cpu", precision=precision)
            )
        return MinedShots(
            self._matchers[index],
            self._engines[index],
            small_gap=settings.small_gap,
            plain_gap=settings.plain_gap,
        )

    def _network_of(self, step: int, stream: Stream) -> Network:
        if self._stage.class_loss.miner:
            self._network = self._network or load_network(self._stage.class_loss.miner)
            return self._network
        if self._snapshots is None:
            raise ValueError(f"task {stream.name} is mined, but there are no weights to mine with")
        source = self._snapshots.source_step(step)
        if self._network is None or source != self._source_step:
            state = self._snapshots.wait_for(step)
            network = make_network(self._stage.network)
            network.load_state_dict(state)
            self._network, self._source_step, self._engines = network.eval(), source, {}
        return self._network
