"""Training batches, made in worker processes so that the trainer does not wait.

Batch k of a run depends on the configuration, the seed, k and the number of training processes alone,
so a resumed run sees the same batches. Shape legend: B shots, (t, i, j) blocks, channels last, as in
`predecoder.blocking`.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import stim
import torch

from predecoder.blocking import NetworkInput, block, blocked_places
from predecoder.labels import ConditionedLabels, SampledLabels, TeacherLabels
from predecoder.rates import blocked_rates
from predecoder.training.config import DataConfig, TaskConfig
from predecoder.training.contested import Contested
from predecoder.training.distilled import DistilledLabels
from predecoder.training.processes import ALONE, Processes
from predecoder.training.varied import varied_noise
from predecoder.weights import load_network
from qec import (
    CircuitNoise,
    DecodingProblem,
    LocationVariation,
    depolarizing,
    load_noise,
    memory_circuit,
    si1000,
    stim_memory_circuit,
)

__all__ = ["Batch", "Stream", "batches", "expand_tasks", "sample_inputs"]

_QUEUE_DEPTH = 4
_SOURCES = {"sampled": SampledLabels, "teacher": TeacherLabels, "conditioned": ConditionedLabels}
_Source = SampledLabels | TeacherLabels | DistilledLabels


@dataclass(frozen=True)
class Stream:
    """One circuit (or DEM) with everything needed to make batches from it."""

    task: TaskConfig
    basis: str
    orientation: str
    variant: int = 0

    @property
    def name(self) -> str:
        """For logs: where the shots come from."""
        task = self.task
        source = task.dem or f"d{task.distance}r{task.rounds}p{task.p:g}"
        if task.noise == "varied":
            source += " varied"
        return f"{source} contested" if task.contested else source

    @cached_property
    def dem(self) -> stim.DetectorErrorModel:
        task = self.task
        if task.dem:
            return stim.DetectorErrorModel.from_file(task.dem)
        size = {"distance": task.distance, "rounds": task.rounds, "basis": self.basis}
        if task.noise == "uniform-stim":
            circuit = stim_memory_circuit(**size, p=task.p)
        else:
            noise, variation = self._noise()
            circuit = memory_circuit(
                **size,
                noise=noise,
                orientation=self.orientation,  # pyright: ignore[reportArgumentType]
                variation=variation,
                perfect_last_round=task.perfect_last_round,
            )
        return circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)

    def _noise(self) -> tuple[CircuitNoise, LocationVariation | None]:
        noise, p = self.task.noise, self.task.p
        if noise == "varied":
            return varied_noise(p, seed=1000 * self.task.distance + self.variant)
        named = {"depolarizing": depolarizing, "si1000": si1000}
        return (named[noise](p) if noise in named else load_noise(noise)), None

    @cached_property
    def problem(self) -> DecodingProblem:
        return DecodingProblem.from_dem(self.dem)

    @cached_property
    def rates(self) -> np.ndarray:
        """float32 `(1, t, i, j, 64)`."""
        return blocked_rates(self.problem)

    def batch_shots(self, blocks_per_batch: int) -> int:
        return max(1, blocks_per_batch // (int(np.prod(self.problem.layout.shape)) // 8))


@dataclass(frozen=True)
class Batch:
    """Shots of one stream, as a network takes them.

    Attributes:
        inputs: float32 `(B, t, i, j, 16)`.
        labels: float32 `(B, t, i, j, 24)`.
        mask: float32 `(1, t, i, j, 24)`: which moves exist.
        rates: float32 `(1, t, i, j, 64)`: what is told of the noise.
    """

    stream: int
    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    rates: np.ndarray


def expand_tasks(tasks: tuple[TaskConfig, ...]) -> tuple[list[Stream], np.ndarray]:
    """All streams of all tasks, and the probability that a batch is drawn from each once all have begun."""
    streams, weights = [], []
    for task in tasks:
        single = task.dem is not None
        bases = task.bases[:1] if single else task.bases
        orientations = task.orientations[:1] if single or task.noise == "uniform-stim" else task.orientations
        for basis in bases:
            for orientation in orientations:
                for variant in range(task.variants):
                    streams.append(Stream(task, basis, orientation, variant))
                    weights.append(task.weight / (len(bases) * len(orientations) * task.variants))
    return streams, np.array(weights) / np.sum(weights)


def sample_inputs(
    streams: Sequence[Stream], blocks: int, *, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shots of every stream in turn, some `blocks` of each, and its rates, as a network takes them."""
    for stream in streams:
        sampler = stream.dem.compile_sampler(seed=seed)
        packed, _, _ = sampler.sample(stream.batch_shots(blocks), bit_packed=True)
        arrays = NetworkInput(stream.problem.layout)(packed), stream.rates
        inputs, rates = (torch.from_numpy(a).permute(0, 4, 1, 2, 3) for a in arrays)
        yield inputs, rates


class _Maker:
    """Makes batches in a worker: detections, bit-packed, and labels, bit-packed where they are 0 or 1."""

    def __init__(
        self, tasks: tuple[TaskConfig, ...], data: DataConfig, seed: int, processes: Processes = ALONE
    ) -> None:
        self._streams, self._weights = expand_tasks(tasks)
        self._begins = np.array([stream.task.begins for stream in self._streams])
        self._sources: dict[int, _Source] = {}
        self._contested: dict[int, Contested] = {}
        self._data, self._seed, self._processes = data, seed, processes

    def __call__(self, step: int) -> tuple[int, np.ndarray, np.ndarray]:
        k = step * self._processes.world_size + self._processes.rank
        rng = np.random.default_rng([self._seed, k])
        weights = np.where(self._begins <= step, self._weights, 0)
        index = int(rng.choice(len(self._streams), p=weights / weights.sum()))
        stream = self._streams[index]
        if index not in self._sources:
            self._sources[index] = self._source(stream)
        shots = stream.batch_shots(self._data.blocks_per_batch)
        if stream.task.contested and index not in self._contested:
            self._contested[index] = Contested(stream.dem)
        seed, keep = int(rng.integers(2**62)), self._contested.get(index)
        try:
            packed, labels = self._sources[index].sample(shots, seed=seed, keep=keep)
        except ValueError as error:
            raise ValueError(
                f"task {stream.name}: {error}; raise p, or remove contested=true from this task"
            ) from None
        return index, packed, np.packbits(labels, axis=1) if labels.dtype == np.uint8 else labels

    def _source(self, stream: Stream) -> _Source:
        if self._data.labels != "distilled":
            return _SOURCES[self._data.labels](stream.problem)
        torch.set_num_threads(1)  # in this worker, beside the trainer
        return DistilledLabels(stream.problem, load_network(self._data.network))


def _work(maker: _Maker, steps: range, out: multiprocessing.Queue) -> None:
    parent = multiprocessing.parent_process()
    for step in steps:
        batch = maker(step)
        while True:
            try:
                out.put(batch, timeout=5)
                break
            except queue.Full:
                if parent is None or not parent.is_alive():
                    # A killed trainer leaves no workers behind, not even one that waits for its reader.
                    out.cancel_join_thread()
                    return


def batches(
    tasks: tuple[TaskConfig, ...],
    data: DataConfig,
    *,
    seed: int,
    steps: range,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    """This process's batch of each of `steps`, in order, made by `data.workers` spawned processes.

    Raises:
        RuntimeError: a worker died; its traceback is on stderr.
    """
    streams, _ = expand_tasks(tasks)
    unpackers: dict[int, _Unpacker] = {}
    context = multiprocessing.get_context("spawn")
    queues, makers = [], []
    for w in range(data.workers):
        out = context.Queue(_QUEUE_DEPTH)
        share = range(steps.start + w, steps.stop, data.workers)
        maker = _Maker(tasks, data, seed, processes)
        process = context.Process(target=_work, args=(maker, share, out), daemon=True)
        process.start()
        queues.append(out)
        makers.append(process)
    try:
        for k in steps:
            w = (k - steps.start) % data.workers
            index, packed, labels = _get(queues[w], makers[w])
            if index not in unpackers:
                unpackers[index] = _Unpacker(streams[index])
            yield unpackers[index](index, packed, labels)
    finally:
        for process in makers:
            process.terminate()


def _get(
    source: multiprocessing.Queue, process: multiprocessing.Process
) -> tuple[int, np.ndarray, np.ndarray]:
    while True:
        try:
            return source.get(timeout=5)
        except queue.Empty:
            if not process.is_alive():
                raise RuntimeError(f"a batch worker ended with exit code {process.exitcode}") from None


class _Unpacker:
    """Turns packed detections and labels into the network's tensors."""

    def __init__(self, stream: Stream) -> None:
        layout, moves = stream.problem.layout, stream.problem.moves
        self._input = NetworkInput(layout)
        self._num_moves = moves.num_moves
        self._places = blocked_places(layout, moves)
        self._shape = block(layout.move_mask[None]).shape[1:]
        self._mask = self._blocked(np.ones((1, self._num_moves)))
        self._rates = stream.rates

    def __call__(self, index: int, packed: np.ndarray, labels: np.ndarray) -> Batch:
        if labels.dtype == np.uint8:
            labels = np.unpackbits(labels, axis=1, count=self._num_moves)
        blocked = self._blocked(labels)
        return Batch(index, self._input(packed), blocked, self._mask, self._rates)

    def _blocked(self, values: np.ndarray) -> np.ndarray:
        """Values of moves `(B, moves)` as float32 `(B, t, i, j, 24)`; zero where there is no move."""
        blocked = np.zeros((len(values), *self._shape), dtype=np.float32)
        blocked.reshape(len(values), -1)[:, self._places] = values
        return blocked
