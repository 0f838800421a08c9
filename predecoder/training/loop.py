"""The training loop: resumable, logged as JSON lines, deterministic by seed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from predecoder.calibration import calibrate
from predecoder.network import Network, NetworkConfig
from predecoder.training.config import TaskConfig, TrainConfig
from predecoder.training.data import Batch, batches, expand_tasks, sample_inputs
from predecoder.training.muon import Muon
from predecoder.training.processes import ALONE, Processes
from predecoder.weights import load_network, resolve_weights

__all__ = ["StepReport", "TrainingRun", "train"]


@dataclass(frozen=True)
class StepReport:
    """One step, as logged.

    Attributes:
        step: number of steps done, this one included.
        samples: shots seen so far, by all processes.
        stream: where the first process's batch came from.
        loss: mean binary cross-entropy (nats) per existing move, averaged over the processes.
        learning_rate: of this step.
        seconds: training time so far, over all resumptions.
    """

    step: int
    samples: int
    stream: str
    loss: float
    learning_rate: float
    seconds: float


class TrainingRun:
    """Everything a checkpoint holds: weights, averaged weights, optimizers, counters."""

    def __init__(self, config: TrainConfig, *, device: torch.device, processes: Processes = ALONE) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device, self.processes = config, device, processes
        self.network = Network(config.network).to(device)
        if config.init:
            _begin_from(self.network, config.init)
        parameters = list(self.network.parameters())
        self.optimizers = (
            Muon([p for p in parameters if p.ndim > 1], lr=config.optimizer.learning_rate),
            torch.optim.AdamW(
                [p for p in parameters if p.ndim == 1],
                lr=config.optimizer.learning_rate,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        )
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = self.samples = 0
        self.seconds = 0.0

    def save(self, path: Path) -> None:
        """Writes the checkpoint, replacing an older one only when it is complete."""
        state = {
            "config": dataclasses.asdict(self.config),
            "processes": self.processes.world_size,
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "counters": {"step": self.step, "samples": self.samples, "seconds": self.seconds},
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Continues from a checkpoint of the same network, seed and processes; the schedule may differ.

        Raises:
            ValueError: the checkpoint is of another network, seed, data or number of processes.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        # What a configuration did not have yet is as it is by default.
        made = state["config"]
        made["network"] = dataclasses.asdict(NetworkConfig(**made["network"]))
        made["tasks"] = tuple(dataclasses.asdict(TaskConfig(**task)) for task in made["tasks"])
        ours = dataclasses.asdict(self.config)
        for key in ("network", "seed", "tasks", "data"):
            if made[key] != ours[key]:
                raise ValueError(
                    f"checkpoint {path} was made with {key}={made[key]}, the configuration says "
                    f"{ours[key]}; use another --work-dir or --no-resume"
                )
        made_by = state.get("processes", 1)
        if made_by != self.processes.world_size:
            raise ValueError(
                f"checkpoint {path} was made with processes={made_by}, this run has "
                f"{self.processes.world_size}; start {made_by} by torchrun, or use another --work-dir "
                "or --no-resume"
            )
        self.network.load_state_dict(state["network"])
        self.ema = state["ema"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for key, value in state["counters"].items():
            setattr(self, key, value)

    def update(self, batch: Batch) -> float:
        """One step on one batch of every process; returns the mean of their losses.

        Every process counts the same, whatever the number of its batch's moves: gradients of losses
        per move are averaged, and are then clipped.
        """
        settings = self.config.optimizer
        rate = settings.rate_at(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
        told = [batch.rates] if self.config.network.rates else []
        inputs, labels, mask, *rates = (
            torch.from_numpy(a).to(self.device).permute(0, 4, 1, 2, 3)
            for a in (batch.inputs, batch.labels, batch.mask, *told)
        )
        logits = self.network(inputs, *rates)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        loss = (losses * mask).sum() / (mask.sum() * len(inputs))
        loss.backward()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        loss, shots = loss.detach(), torch.tensor(float(len(inputs)), device=self.device)
        self.processes.average([*gradients, loss, shots])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.samples += round(float(shots) * self.processes.world_size)
        # The average forgets its random start quickly at first.
        decay = min(settings.ema_decay, self.step / (self.step + 9))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                self.ema[key].lerp_(value, 1 - decay)
        return float(loss)


def train(
    config: TrainConfig,
    work_dir: Path,
    *,
    device: torch.device,
    resume: bool = True,
    on_step: Callable[[StepReport], None] = lambda _: None,
    processes: Processes = ALONE,
) -> Network:
    """Trains to the end of the schedule, or to `stop`; returns the network with averaged weights, calibrated.

    Checkpoints go to `work_dir/checkpoint.pt`, one JSON line a step to `work_dir/log.jsonl`. Killed
    at any time, a second call continues from the last checkpoint with the batches that would have
    come next.

    Several `processes`, joined, each call this and get the same network. All read the checkpoint; the
    first one alone writes, and calls `on_step`.

    Raises:
        ValueError: `work_dir` has a checkpoint of another configuration or number of processes.
        WeightsError: labels are distilled from a network that does not exist.
    """
    if config.data.labels == "distilled":
        resolve_weights(config.data.network)
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = work_dir / "checkpoint.pt"
    run = TrainingRun(config, device=device, processes=processes)
    if resume and checkpoint.exists():
        run.restore(checkpoint)
    processes.require_same(run.step)
    log = work_dir / "log.jsonl"
    if processes.rank == 0:
        _truncate_log(log, keep=run.step)
    streams, _ = expand_tasks(config.tasks)
    started = last_saved = time.monotonic()
    before = run.seconds
    with log.open("a") as lines:
        last = config.optimizer.last_step
        steps = range(run.step, last)
        for batch in batches(config.tasks, config.data, seed=config.seed, steps=steps, processes=processes):
            rate = config.optimizer.rate_at(run.step)
            loss = run.update(batch)
            if processes.rank > 0:
                continue
            now = time.monotonic()
            run.seconds = before + now - started
            report = StepReport(run.step, run.samples, streams[batch.stream].name, loss, rate, run.seconds)
            lines.write(json.dumps(dataclasses.asdict(report)) + "\n")
            on_step(report)
            if now - last_saved > config.checkpoint_seconds or run.step == last:
                lines.flush()
                run.save(checkpoint)
                last_saved = now
    processes.require_same(run.step)  # none returns, to train on, before the checkpoint is there
    run.network.load_state_dict(run.ema)
    network = run.network.eval()
    if config.network.integers:
        whole = [stream for stream in streams if not stream.task.contested]
        samples = sample_inputs(whole or streams, config.data.blocks_per_batch, seed=config.seed)
        calibrate(network, ((inputs, rates if config.network.rates else None) for inputs, rates in samples))
    return network


def _begin_from(network: Network, init: str) -> None:
    """Loads weights that may lack the last residual blocks, a geometry or rates: all idle as made."""
    given = load_network(init)
    wanted = network.config
    geometry = given.config.geometry or wanted.geometry
    grown = dataclasses.replace(
        given.config,
        residual_blocks=wanted.residual_blocks,
        geometry=geometry,
        rates=given.config.rates or wanted.rates,
        integers=wanted.integers,
    )
    if given.config.residual_blocks > wanted.residual_blocks or grown != wanted:
        raise ValueError(
            f"init={init!r} holds {given.config}, the configuration asks for {wanted}; only residual "
            "blocks, a geometry, rates and integers can be added"
        )
    state = network.state_dict()
    ranges = ("stream_range", "hidden_range")  # measured anew when training ends
    kept = {name: value for name, value in given.state_dict().items() if name not in ranges}
    network.load_state_dict(state | kept)


def _truncate_log(log: Path, *, keep: int) -> None:
    """Drops the lines of steps that were logged after the last checkpoint and will be done again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[:keep]))
