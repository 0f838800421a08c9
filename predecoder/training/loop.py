"""The training loop: resumable, logged as JSON lines, deterministic by seed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from predecoder.network import Network, QuantizedSeparableNetwork, calibrate
from predecoder.training.batches import batches, sample_inputs
from predecoder.training.config import StageConfig, TrainConfig
from predecoder.training.losses import BatchLoss, StageLoss
from predecoder.training.processes import ALONE, Processes
from predecoder.training.reuse import Reuse
from predecoder.training.run import TrainingRun
from predecoder.training.snapshots import Snapshots
from predecoder.training.tasks import Stream, expand_tasks
from predecoder.weights import resolve_weights, save_weights

__all__ = ["StepReport", "train", "train_stage"]


@dataclass(frozen=True)
class StepReport:
    """One step, as logged.

    Attributes:
        stage: where the step belongs.
        step: number of the stage's steps done, this one included.
        samples: shots seen so far, by all processes.
        stream: where the first process's batch came from.
        loss: what was minimized, averaged over the processes.
        marginal: mean binary cross-entropy (nats) per existing move.
        logical_class: mean loss of the logical class (nats), None in stages without it.
        wrong: share of shots that are decided wrongly, None in stages without a class loss.
        learning_rate: of this step.
        seconds: training time of the stage so far, over all resumptions.
        update_seconds: time of this step without waiting for its batch.
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
    precision: str


def train(
    config: TrainConfig,
    work_dir: Path,
    *,
    device: torch.device,
    resume: bool = True,
    on_step: Callable[[StepReport], None] = lambda _: None,
    processes: Processes = ALONE,
) -> Network:
    """Train all stages in turn, each from where the one before ended; returns the last one's network.

    Each has its folder `work_dir/STAGE`, see `train_stage`, and leaves its weights in
    `work_dir/STAGE/weights.safetensors`. Killed at any time, a second call goes on inside the stage.

    Raises:
        ValueError, WeightsError: see `train_stage`.
    """
    network, made = None, None
    for stage in config.stages:
        folder = work_dir / stage.name
        begun = stage if stage.init or made is None else dataclasses.replace(stage, init=str(made))
        network = train_stage(
            begun, folder, device=device, resume=resume, on_step=on_step, processes=processes
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
) -> Network:
    """Train to the end of the schedule, or to `stop`; returns the network with averaged weights, calibrated.

    Checkpoints go to `work_dir/checkpoint.pt`, one JSON line a step to `work_dir/log.jsonl`, weights to mine
    shots with to `work_dir/mining`. Killed at any time, a second call continues from the last checkpoint with
    the batches that would have come next.

    Several `processes`, joined, each call this and get the same network. All read the checkpoint; the
    first one alone writes, and calls `on_step`.

    Raises:
        ValueError: `work_dir` has a checkpoint of another configuration or number of processes.
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
    run = TrainingRun(stage, device=device, processes=processes)
    if resume and files.checkpoint.exists():
        run.restore(files.checkpoint)
    processes.require_same(run.step)
    if processes.rank == 0:
        files.begin(run)
    streams, _ = expand_tasks(stage.tasks)
    for report in _steps(run, files, streams):
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
        self._drop_snapshots(run, last=run.step)

    def _drop_snapshots(self, run: TrainingRun, *, last: int) -> None:
        reuse = Reuse(run.stage.data.passes, run.stage.data.pool)
        self.snapshots.keep(first=reuse.first_use(reuse.oldest(run.step)), last=last)


def _steps(run: TrainingRun, files: _Files, streams: Sequence[Stream]) -> Iterator[StepReport]:
    """Does all steps that are left; the first process logs them, and yields what it logged."""
    stage, last = run.stage, run.stage.optimizer.last_step
    loss_of = StageLoss(stage, streams)
    started = last_saved = time.monotonic()
    before = run.seconds
    made = batches(
        stage,
        steps=range(run.step, last),
        streams=streams,
        snapshots=files.snapshots if stage.mines else None,
        processes=run.processes,
    )
    with files.log.open("a") as lines:
        for batch in made:
            rate, begun = stage.optimizer.rate_at(run.step), time.monotonic()
            losses = run.update(batch, loss_of)
            if run.processes.rank > 0:
                continue
            now = time.monotonic()
            files.snapshot(run)
            run.seconds = before + now - started
            report = _report(run, streams[batch.stream].name, losses, rate, now - begun)
            lines.write(json.dumps(dataclasses.asdict(report)) + "\n")
            yield report
            if now - last_saved > stage.checkpoint_seconds or run.step == last:
                lines.flush()
                files.save(run)
                last_saved = now


def _report(run: TrainingRun, stream: str, losses: BatchLoss, rate: float, seconds: float) -> StepReport:
    logical_class, wrong = (None if x is None else float(x) for x in (losses.logical_class, losses.wrong))
    return StepReport(
        stage=run.stage.name,
        step=run.step,
        samples=run.samples,
        stream=stream,
        loss=float(losses.total),
        marginal=float(losses.marginal),
        logical_class=logical_class,
        wrong=wrong,
        learning_rate=rate,
        seconds=run.seconds,
        update_seconds=seconds,
        precision=run.stage.optimizer.precision,
    )
