"""Training batches, made in worker processes so that the trainer does not wait.

Batch k of a run depends on the configuration, the seed, k and the number of training processes alone (mined
batches also on the weights of an earlier step), so a resumed run sees the same batches. Shape legend: B
shots, (t, i, j) blocks, channels last, as in `predecoder.blocking`.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch

from predecoder.blocking import NetworkInput, block
from predecoder.training.config import StageConfig
from predecoder.training.making import BatchMaker, Made
from predecoder.training.processes import ALONE, Processes
from predecoder.training.reuse import Reuse
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import Stream, expand_tasks

__all__ = ["Batch", "Unpacker", "batches", "sample_inputs"]

_QUEUE_DEPTH = 4
_EXIT_SECONDS = 10
"""How long a worker whose pipe has closed may take to end."""


@dataclass(frozen=True)
class Batch:
    """Shots of one stream, as a network takes them.

    Attributes:
        stream: number of the stream.
        inputs: float32 `(B, t, i, j, 16)`.
        labels: float32 `(B, t, i, j, 24)`.
        mask: float32 `(1, t, i, j, 24)`: which moves exist.
        noise_features: float32 `(1, t, i, j, 64)`: the noise features.
        packed: detections, bit-packed uint8 `(B, ceil(num_detectors / 8))` LSB first.
        observables: the true flips, uint8 0/1 `(B, num_observables)`.
        teacher_gaps: see `Made`.
    """

    stream: int
    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    noise_features: np.ndarray
    packed: np.ndarray
    observables: np.ndarray
    teacher_gaps: np.ndarray | None


def sample_inputs(
    streams: Sequence[Stream], blocks: int, *, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shots of every stream in turn, some `blocks` of each, and its noise features, as networks take them."""
    for stream in streams:
        sampler = stream.dem.compile_sampler(seed=seed)
        packed, _, _ = sampler.sample(stream.batch_shots(blocks), bit_packed=True)
        arrays = NetworkInput(stream.problem.layout)(packed), stream.noise_features
        inputs, features = (torch.from_numpy(a).permute(0, 4, 1, 2, 3) for a in arrays)
        yield inputs, features


def batches(
    stage: StageConfig,
    *,
    steps: range,
    streams: Sequence[Stream] | None = None,
    snapshots: Snapshots | None = None,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    """This process's batch of each of `steps`, in order, made by `data.workers` spawned processes, or here.

    Args:
        streams: of the stage's tasks, where the caller has them already.
        snapshots: where mined tasks find the weights to mine with.

    Raises:
        BatchWorkerDiedError: a worker died; its traceback is on stderr.
    """
    if not steps:
        return
    streams = streams or expand_tasks(stage.tasks)[0]
    unpackers: dict[int, Unpacker] = {}
    reuse, count = Reuse(stage.data.passes, stage.data.pool), stage.data.workers
    first = received = reuse.oldest(steps.start)
    stop = reuse.round_of(steps[-1]) + 1
    maker = BatchMaker(stage, snapshots=snapshots, processes=processes)
    workers: Sequence[_Worker | _Here] = [_Here(maker, range(first, stop))]
    if count:
        workers = [_Worker(maker, range(first + w, stop, count)) for w in range(count)]
    pool: dict[int, Made] = {}
    try:
        for step in steps:
            batch = reuse.batch_of(step)
            while received <= batch:
                pool[received % reuse.span] = workers[(received - first) % len(workers)].receive()
                received += 1
            made = pool[batch % reuse.span]
            if made.stream not in unpackers:
                unpackers[made.stream] = Unpacker(streams[made.stream])
            yield unpackers[made.stream](made)
    finally:
        for worker in workers:
            worker.end()


class BatchWorkerDiedError(RuntimeError):
    """A process that makes batches ended before its work was done."""


class _Here:
    """Makes batches in this process, when they are asked for."""

    def __init__(self, maker: BatchMaker, numbers: range) -> None:
        self._made = map(maker, numbers)

    def receive(self) -> Made:
        return next(self._made)

    def end(self) -> None:
        pass


class _Worker:
    """A process that makes batches ahead, and the pipe that they come through.

    A pipe of its own, of which the trainer holds no writing end: when the process dies, for want of memory or
    otherwise, the pipe closes and the trainer sees it at once, in the middle of a message too. And when the
    trainer dies, the process cannot write any more, and ends.
    """

    def __init__(self, maker: BatchMaker, numbers: range) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(maker, numbers, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> Made:
        """The next batch; raises BatchWorkerDiedError if the process is dead."""
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_EXIT_SECONDS)
            raise BatchWorkerDiedError(
                f"a worker that makes batches ended with exit code {self._process.exitcode}; if nothing is "
                "said above, the machine may be out of memory: use fewer data.workers. The run goes on from "
                "its last checkpoint"
            ) from None

    def end(self) -> None:
        """Stops the process."""
        self._process.terminate()
        self._process.join(_EXIT_SECONDS)
        self._pipe.close()


def _work(maker: BatchMaker, numbers: range, pipe: Connection) -> None:
    """Makes batches in a thread, a few ahead of those that the trainer has read."""
    made: queue.Queue[Made | Exception] = queue.Queue(_QUEUE_DEPTH)

    def make() -> None:
        try:
            for batch in numbers:
                made.put(maker(batch))
        except Exception as error:  # noqa: BLE001 - raised again where it ends the process
            made.put(error)

    threading.Thread(target=make, daemon=True).start()
    for _ in numbers:
        batch = made.get()
        if isinstance(batch, Exception):
            raise batch
        try:
            pipe.send(batch)
        except BrokenPipeError:  # the trainer is gone
            return


class Unpacker:
    """Turns packed detections and labels into the network's tensors."""

    def __init__(self, stream: Stream) -> None:
        self._input = NetworkInput(stream.problem.layout)
        self._num_moves, self._num_observables = (
            stream.problem.moves.num_moves,
            stream.problem.layout.num_observables,
        )
        self._places = stream.places
        self._shape = block(stream.problem.layout.move_mask[None]).shape[1:]
        self._mask = self._blocked(np.ones((1, self._num_moves)))
        self._noise_features = stream.noise_features

    def __call__(self, made: Made) -> Batch:
        labels = made.labels
        if labels.dtype == np.uint8:
            labels = np.unpackbits(labels, axis=1, count=self._num_moves)
        return Batch(
            made.stream,
            self._input(made.packed),
            self._blocked(labels),
            self._mask,
            self._noise_features,
            made.packed,
            np.unpackbits(made.observables, axis=1, count=self._num_observables, bitorder="little"),
            made.teacher_gaps,
        )

    def _blocked(self, values: np.ndarray) -> np.ndarray:
        """Values of moves `(B, moves)` as float32 `(B, t, i, j, 24)`; zero where there is no move."""
        blocked = np.zeros((len(values), *self._shape), dtype=np.float32)
        blocked.reshape(len(values), -1)[:, self._places] = values
        return blocked
