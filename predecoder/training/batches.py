"""Training batches, made in worker processes so that the trainer does not wait.

Batch k of a run depends on the configuration, the seed, k and the number of training processes alone (mined
batches also on the weights of an earlier step), so a resumed run sees the same batches, and so does one with
more workers.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import numpy as np
import torch

from predecoder.blocking import NetworkInput
from predecoder.training.config import StageConfig
from predecoder.training.making import BatchMaker, Made
from predecoder.training.processes import ALONE, Processes
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import Stream, expand_tasks
from predecoder.training.unpacking import Batch, Unpacker

__all__ = ["BatchWorkerDiedError", "batches", "sample_inputs"]

_QUEUE_DEPTH = 4
_EXIT_SECONDS = 10
"""How long a worker whose pipe has closed may take to end."""
_CPU = torch.device("cpu")


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
    device: torch.device = _CPU,
) -> Iterator[Batch]:
    """This process's batches of each of `steps`, in order, made by `data.workers` spawned processes, or here.

    A step has `data.batches_per_step` of them, or where the trainer mines as many as it looks at.

    Args:
        streams: of the stage's tasks, where the caller has them already.
        snapshots: where mined tasks find the weights to mine with.
        device: where their tensors are wanted.

    Raises:
        BatchWorkerDiedError: a worker died; its traceback is on stderr.
    """
    if not steps:
        return
    streams = streams or expand_tasks(stage.tasks)[0]
    unpackers: dict[int, Unpacker] = {}
    reuse, each = stage.data.reuse, stage.made_per_step
    turns = range(steps.start * each, steps.stop * each)
    numbers = range(reuse.oldest(turns.start), reuse.round_of(turns[-1]) + 1)
    count = min(stage.data.workers, len(numbers))
    maker = BatchMaker(stage, snapshots=snapshots, processes=processes)
    source: _Here | _Ahead = _Here(maker, numbers)
    if count:
        workers = [_Worker(maker, numbers[k::count]) for k in range(count)]
        source = _Ahead(workers, len(numbers), pin=device.type == "cuda")
    pool: dict[int, Made] = {}
    newest = numbers.start - 1
    try:
        for turn in turns:
            batch = reuse.batch_of(turn)
            while newest < batch:
                newest += 1
                pool[newest % reuse.span] = source.next()
            made = pool[batch % reuse.span]
            if made.stream not in unpackers:
                unpackers[made.stream] = Unpacker(streams[made.stream], device)
            yield unpackers[made.stream](made)
    finally:
        source.end()


class BatchWorkerDiedError(RuntimeError):
    """A process that makes batches ended before its work was done."""


class _Here:
    """Makes batches in this process, when they are asked for."""

    def __init__(self, maker: BatchMaker, numbers: range) -> None:
        self._made = map(maker, numbers)

    def next(self) -> Made:
        """The next one."""
        return next(self._made)

    def end(self) -> None:
        """Nothing is under way."""


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

    def receive(self, *, pin: bool = False) -> Made:
        """The next batch, if asked for in memory that a GPU copies from by itself.

        Raises:
            BatchWorkerDiedError: the process is dead.
        """
        try:
            made = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_EXIT_SECONDS)
            raise BatchWorkerDiedError(
                f"a worker that makes batches ended with exit code {self._process.exitcode}; if nothing is "
                "said above, the machine may be out of memory: use fewer data.workers. The run goes on from "
                "its last checkpoint"
            ) from None
        return _pinned(made) if pin else made

    def end(self) -> None:
        """Stops the process, and whoever waits for its next batch."""
        self._process.terminate()
        self._process.join(_EXIT_SECONDS)

    def close(self) -> None:
        """Gives up the pipe, which nobody may be reading from any more."""
        self._pipe.close()


class _Ahead:
    """A thread that takes what workers make, in turn, a little before it is asked for."""

    def __init__(self, workers: Sequence[_Worker], count: int, *, pin: bool) -> None:
        self._queue: queue.Queue[Made | Exception] = queue.Queue(_QUEUE_DEPTH)
        self._ended = threading.Event()
        self._workers = workers
        received = (workers[k % len(workers)].receive(pin=pin) for k in range(count))
        self._thread = threading.Thread(target=self._take, args=(received,), daemon=True)
        self._thread.start()

    def next(self) -> Made:
        """The next one; raises what the iterator raised."""
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    def end(self) -> None:
        """Ends the workers, and waits until nothing is read from them any more."""
        self._ended.set()
        for worker in self._workers:
            worker.end()
        self._thread.join(_EXIT_SECONDS)
        for worker in self._workers:
            worker.close()

    def _take(self, items: Iterator[Made]) -> None:
        try:
            for item in items:
                if not self._put(item):
                    return
        except Exception as error:  # noqa: BLE001 - raised again where it is asked for
            self._put(error)

    def _put(self, item: Made | Exception) -> bool:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def _pinned(made: Made) -> Made:
    """The same in page-locked memory, which a GPU copies from while the trainer goes on."""

    def pin(array: np.ndarray) -> np.ndarray:
        return torch.from_numpy(array).pin_memory().numpy()

    return made._replace(packed=pin(made.packed), labels=pin(made.labels))


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
