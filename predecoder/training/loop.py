"""The training loop: resumable, logged as JSON lines, deterministic by seed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from predecoder.network import Network, QuantizedSeparableNetwork, calibrate
from predecoder.training.batches import batches, sample_inputs
from predecoder.training.config import StageConfig, TrainConfig
from predecoder.training.device_mining import DeviceMining
from predecoder.training.losses import StageLoss
from predecoder.training.minutes import Minutes
from predecoder.training.processes import ALONE, Processes
from predecoder.training.run import TrainingRun
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import Stream, expand_tasks
from predecoder.training.unpacking import Batch
from predecoder.weights import resolve_weights, save_weights

__all__ = ["StepReport", "train", "train_stage"]


@dataclass(frozen=True)
class StepReport:
    """One step, as logged.

    Attributes:
        stage: where the step belongs.
        step: number of the stage's steps done, this one included.
        samples: shots seen so far, by all processes.
        stream: where the first process's first batch came from.
        loss: what was minimized, averaged over the processes.
        marginal: mean binary cross-entropy (nats) per existing move.
        logical_class: mean loss of the logical class (nats), None in stages without it.
        wrong: share of shots that are decided wrongly, None in stages without a class loss.
        learning_rate: of this step.
        seconds: training time of the stage so far, over all resumptions.
        update_seconds: time of this step without waiting for its batches.
        matching_seconds: what of it was waited for matchings; nothing if they are hidden behind the device's
            work.
        precision: what the network computed in.
    """

    stage: str
    step: int
    samples: int
    stream: str
    loss: float
    marginal: float
    logical_class: float | None
    wrong: float | None
    learning_rate: float
    seconds: float
    update_seconds: float
    matching_seconds: float
    precision: str


def train(
    config: TrainConfig,
    work_dir: Path,
    *,
    device: torch.device,
    resume: bool = True,
    on_step: Callable[[StepReport], None] = lambda _: None,
    processes: Processes = ALONE,
    minutes: float | None = None,
) -> Network:
    """Train all stages in turn, each from where the one before ended; returns the last one's network.

    Each has its folder `work_dir/STAGE`, see `train_stage`, and leaves its weights in
    `work_dir/STAGE/weights.safetensors`. Killed at any time, a second call goes on inside the stage.

    Args:
        minutes: see `train_stage`; of a configuration of one stage.

    Raises:
        ValueError, WeightsError: see `train_stage`.
    """
    if minutes is not None and len(config.stages) > 1:
        raise ValueError(f"minutes={minutes:g} are for one stage, {config.name!r} has {len(config.stages)}")
    network, made = None, None
    for stage in config.stages:
        folder = work_dir / stage.name
        begun = stage if stage.init or made is None else dataclasses.replace(stage, init=str(made))
        network = train_stage(
            begun,
            folder,
            device=device,
            resume=resume,
            on_step=on_step,
            processes=processes,
            minutes=minutes,
        )
        made = folder / "weights.safetensors"
        if processes.rank == 0:
            card = {"name": config.name, "stage": dataclasses.asdict(begun)}
            save_weights(network, made, card, policies=stage.policies)
        processes.require_same(0)  # none goes on before the weights are there
    assert network is not None  # a configuration has stages
    return network


def train_stage(
    stage: StageConfig,
    work_dir: Path,
    *,
    device: torch.device,
    resume: bool = True,
    on_step: Callable[[StepReport], None] = lambda _: None,
    processes: Processes = ALONE,
    minutes: float | None = None,
) -> Network:
    """Train to the end of the schedule, or to `stop`; returns the network with averaged weights, calibrated.

    Checkpoints go to `work_dir/checkpoint.pt`, the averaged weights of that step to
    `work_dir/averaged.safetensors`, one JSON line a step to `work_dir/log.jsonl`, weights to mine shots with
    to `work_dir/mining`. Killed at any time, a second call continues from the last checkpoint with the
    batches that would have come next.

    Args:
        minutes: the schedule's length in place of `steps`, which follow from the speed of its first quarter
            and are then fixed, in checkpoints too. Until then the rate does not fall.

    Several `processes`, joined, each call this and get the same network. All read the checkpoint; the
    first one alone writes, and calls `on_step`.

    Raises:
        ValueError: `work_dir` has a checkpoint of another configuration or number of processes; `minutes` for
            several processes, or not positive.
        WeightsError: labels are distilled from, or shots mined with, weights that do not exist.
        BatchWorkerDiedError: a worker that makes batches died.
    """
    if stage.data.labels == "distilled":
        resolve_weights(stage.data.network)
    for name in (stage.class_loss.miner, stage.class_teacher):
        if name:
            resolve_weights(name)
    work_dir.mkdir(parents=True, exist_ok=True)
    files = _Files(work_dir, Snapshots(work_dir / "mining", stage.class_loss.mine_every))
    length = None if minutes is None else Minutes.given(minutes, stage, processes)
    run = TrainingRun(stage, device=device, processes=processes)
    if resume and files.checkpoint.exists():
        run.restore(files.checkpoint)
    processes.require_same(run.step)
    if processes.rank == 0:
        files.begin(run)
    streams, _ = expand_tasks(stage.tasks)
    with _fast_convolutions(device):
        for report in _steps(run, files, streams, length):
            on_step(report)
    processes.require_same(run.step)  # none returns, to train on, before the checkpoint is there
    run.network.load_state_dict(run.ema)
    network = run.network.eval()
    if isinstance(network, QuantizedSeparableNetwork):
        whole = [stream for stream in streams if stream.task.shots == "all"]
        samples = sample_inputs(whole or streams, stage.data.blocks_per_batch, seed=stage.seed)
        calibrate(
            network,
            ((inputs, features if stage.network.noise_conditioned else None) for inputs, features in samples),
        )
    return network


@dataclass(frozen=True)
class _Files:
    """What a stage leaves in its work folder."""

    folder: Path
    snapshots: Snapshots

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def begin(self, run: TrainingRun) -> None:
        """Drops what belongs to steps after the last checkpoint: they will be done again."""
        if self.log.exists():
            lines = self.log.read_text().splitlines(keepends=True)
            self.log.write_text("".join(lines[: run.step]))
        self._drop_snapshots(run, last=run.step - 1)
        self.snapshot(run)

    def snapshot(self, run: TrainingRun) -> None:
        """Writes averaged weights where mined tasks will need them."""
        if run.stage.mines:
            self.snapshots.save(run.step, run.ema)

    def save(self, run: TrainingRun) -> None:
        """Writes a checkpoint, and drops the snapshots that no step from here on is mined with."""
        run.save(self.checkpoint)
        card = {"stage": dataclasses.asdict(run.stage), "step": run.step, "samples": run.samples}
        save_weights(run.averaged(), self.folder / "averaged.safetensors", card, policies=run.stage.policies)
        self._drop_snapshots(run, last=run.step)

    def _drop_snapshots(self, run: TrainingRun, *, last: int) -> None:
        reuse, each = run.stage.data.reuse, run.stage.data.batches_per_step
        first = reuse.first_use(reuse.oldest(run.step * each)) // each
        self.snapshots.keep(first=first, last=last)


def _steps(
    run: TrainingRun, files: _Files, streams: Sequence[Stream], length: Minutes | None
) -> Iterator[StepReport]:
    """Does all steps that are left; the first process logs them, and yields what it logged."""
    if length:
        length.resume(run)
    stage, each = run.stage, run.stage.data.batches_per_step
    loss_of = StageLoss(stage, streams)
    started = last_saved = time.monotonic()
    before = run.seconds
    sampled = batches(
        stage,
        steps=range(run.step, length.most_steps if length else stage.optimizer.last_step),
        streams=streams,
        snapshots=files.snapshots if stage.mines else None,
        processes=run.processes,
        device=run.device,
    )
    made = _Timed(DeviceMining(sampled, run, loss_of, streams) if stage.trainer_mines else sampled)
    with files.log.open("a") as lines, contextlib.closing(made):
        while run.step < run.stage.optimizer.last_step:
            rate, begun = run.stage.optimizer.rate_at(run.step), time.monotonic()
            made.waited, loss_of.waited = 0.0, 0.0
            losses = run.update(itertools.islice(made, each), loss_of)
            if run.processes.rank > 0:
                continue
            lost = float(losses.total)  # waits for the device
            now = time.monotonic()
            files.snapshot(run)
            run.seconds = before + now - started
            report = StepReport(
                stage=stage.name,
                step=run.step,
                samples=run.samples,
                stream=streams[made.first_stream].name,
                loss=lost,
                marginal=float(losses.marginal),
                logical_class=None if losses.logical_class is None else float(losses.logical_class),
                wrong=None if losses.wrong is None else float(losses.wrong),
                learning_rate=rate,
                seconds=run.seconds,
                update_seconds=now - begun - made.waited,
                matching_seconds=loss_of.waited,
                precision=stage.optimizer.precision,
            )
            if length:
                length.after(run)
            lines.write(json.dumps(dataclasses.asdict(report)) + "\n")
            yield report
            if now - last_saved > stage.checkpoint_seconds or run.step == run.stage.optimizer.last_step:
                lines.flush()
                files.save(run)
                last_saved = now


class _Timed:
    """Batches, with the time that was waited for them, and the stream of the last step's first."""

    def __init__(self, made: Iterator[Batch]) -> None:
        self._made = made
        self.waited, self.first_stream = 0.0, 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        begun = time.monotonic()
        batch = next(self._made)
        if not self.waited:
            self.first_stream = batch.stream
        self.waited += time.monotonic() - begun
        return batch

    def close(self) -> None:
        """Ends the workers."""
        self._made.close()  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _fast_convolutions(device: torch.device) -> Iterator[None]:
    """On a GPU the library's algorithms are timed, once for a shape; what was set before holds afterwards."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
