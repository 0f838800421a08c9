"""The state of a stage in training: all that a checkpoint holds, and one step."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from predecoder.network import Network, NetworkConfig, bfloat16_blocks, make_network, network_config
from predecoder.training.config import ClassLossConfig, DataConfig, StageConfig
from predecoder.training.device_labels import DeviceLabels
from predecoder.training.losses import BatchLoss, PendingLoss, StageLoss
from predecoder.training.muon import Muon
from predecoder.training.processes import ALONE, Processes
from predecoder.training.tasks import TaskConfig
from predecoder.training.unpacking import Batch
from predecoder.weights import load_network

__all__ = ["TrainingRun"]

_BETAS = (0.9, 0.98)
_COUNTERS = ("step", "samples", "seconds", "fixed_steps")
_FORWARD_AHEAD = 2
"""Batches of a step whose logits are there before the first one's loss is: enough for the host's matchings to
be hidden behind the device's work where they take no longer."""


class TrainingRun:
    """Weights, averaged weights, optimizers and counters of a stage.

    Attributes:
        fixed_steps: the length of a schedule that was given as a time, once it is known.
    """

    def __init__(self, stage: StageConfig, *, device: torch.device, processes: Processes = ALONE) -> None:
        torch.manual_seed(stage.seed)
        self.stage, self.device, self.processes = stage, device, processes
        self.network = make_network(stage.network).to(device)
        if stage.init:
            _begin_from(self.network, stage.init)
        self.optimizers = _optimizers(self.network, stage)
        self._labels: DeviceLabels | None = None
        if stage.data.labels == "distilled" and stage.data.distilled_by == "trainer":
            precision = stage.optimizer.precision
            self._labels = DeviceLabels(stage.data.network, device=device, precision=precision)
        self.ema = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        self.step = self.samples = 0
        self.seconds = 0.0
        self.fixed_steps: int | None = None

    def save(self, path: Path) -> None:
        """Writes the checkpoint, replacing an older one only when it is complete."""
        state = {
            "stage": dataclasses.asdict(self.stage),
            "processes": self.processes.world_size,
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "counters": {name: getattr(self, name) for name in _COUNTERS},
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Continues from a checkpoint of the same stage and processes; the schedule may differ.

        Raises:
            ValueError: the checkpoint is of another network, seed, loss, data or number of processes.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        if "stage" not in state:
            raise ValueError(
                f"checkpoint {path} is not of this version; use another --work-dir or --no-resume"
            )
        made, ours = _completed(state["stage"]), dataclasses.asdict(self.stage)
        for key in ("network", "seed", "loss", "tasks", "data", "class_loss"):
            if _decisive(key, made[key]) != _decisive(key, ours[key]):
                raise ValueError(
                    f"checkpoint {path} was made with {key}={made[key]}, the configuration says "
                    f"{ours[key]}; use another --work-dir or --no-resume"
                )
        made_by = state["processes"]
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

    def update(self, batches: Iterable[Batch], loss_of: StageLoss) -> BatchLoss:
        """One step on some batches of every process; returns the mean of their losses, detached.

        Every batch and every process counts the same, whatever the number of its moves or shots: gradients
        are averaged, and are then clipped. The device computes the logits of some batches more while the
        matchings of one are under way on the host; gradients are added in the order of the batches.
        """
        settings = self.stage.optimizer
        rate = settings.rate_at(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
        done = [self._backward(pending, loss_of) for pending in self._begun(batches, loss_of)]
        shots = torch.tensor(float(sum(count for _, count in done)), device=self.device)
        values = _means([losses for losses, _ in done])
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        self.processes.average([*gradients, *values.values(), shots])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.max_gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.samples += round(float(shots) * self.processes.world_size)
        self._average_weights()
        return BatchLoss(**values)

    def _begun(self, batches: Iterable[Batch], loss_of: StageLoss) -> Iterator[PendingLoss]:
        """Forward passes, each a few batches before its loss is wanted."""
        under_way: deque[PendingLoss] = deque()
        for batch in batches:
            given = batch if self._labels is None else self._labels(batch)
            logits, removal = self.logits(batch)
            under_way.append(loss_of.begin(logits, given, removal))
            if len(under_way) > _FORWARD_AHEAD:
                yield under_way.popleft()
        yield from under_way

    def logits(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The network's logits `(B, 24, t, i, j)` that are matched, and those of a removal head or None."""
        features = batch.noise_features if self.stage.network.noise_conditioned else None
        in_bfloat16 = self.stage.optimizer.precision == "bfloat16"
        with bfloat16_blocks(self.network) if in_bfloat16 else nullcontext():
            logits, removal = self.network.both(batch.inputs, features)
        return logits, removal if self.network.removal_head is not None else None

    def _backward(self, pending: PendingLoss, loss_of: StageLoss) -> tuple[BatchLoss, int]:
        """Add a batch's gradients; its losses, and its shots."""
        losses, of = loss_of.end(pending), self.stage.data.batches_per_step
        (losses.total if of == 1 else losses.total / of).backward()
        values = {name: value.detach() for name, value in vars(losses).items() if value is not None}
        return BatchLoss(**values), len(pending.batch.inputs)

    def set_steps(self, steps: int) -> None:
        """Change the schedule's length."""
        optimizer = dataclasses.replace(self.stage.optimizer, steps=steps, stop=0)
        self.stage = dataclasses.replace(self.stage, optimizer=optimizer)

    def averaged(self) -> Network:
        """A copy of the network with the averaged weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.ema)
        return network.eval()

    def _average_weights(self) -> None:
        # The average forgets its random start quickly at first.
        decay = min(self.stage.optimizer.ema_decay, self.step / (self.step + 9))
        with torch.no_grad():
            for key, value in self.network.state_dict().items():
                self.ema[key].lerp_(value, 1 - decay)


def _means(losses: list[BatchLoss]) -> dict[str, torch.Tensor]:
    """Of every loss that there is, the mean over the batches of a step."""
    names = [name for name, value in vars(losses[0]).items() if value is not None]
    columns = {name: [getattr(one, name) for one in losses] for name in names}
    return {name: of[0] if len(of) == 1 else torch.stack(of).mean() for name, of in columns.items()}


def _optimizers(network: Network, stage: StageConfig) -> tuple[torch.optim.Optimizer, ...]:
    rate, parameters = stage.optimizer.learning_rate, list(network.parameters())
    if stage.optimizer.method == "adamw":
        return (torch.optim.AdamW(parameters, lr=rate, betas=_BETAS, weight_decay=0.0),)
    convolutions, biases = ([p for p in parameters if (p.ndim > 1) is many] for many in (True, False))
    return (
        Muon(convolutions, lr=rate),
        torch.optim.AdamW(biases, lr=rate, betas=_BETAS, weight_decay=0.0),
    )


def _completed(made: dict[str, Any]) -> dict[str, Any]:
    """A stage as it was saved; what configurations did not have yet is as it is by default."""
    return made | {
        "network": dataclasses.asdict(network_config(made["network"])),
        "tasks": tuple(dataclasses.asdict(TaskConfig(**task)) for task in made["tasks"]),
        "data": dataclasses.asdict(DataConfig(**made["data"])),
        "class_loss": dataclasses.asdict(ClassLossConfig(**made["class_loss"])),
    }


def _decisive(key: str, of_stage: Any) -> Any:
    """What of a part of a stage decides what is learnt."""
    how_fast = {"data": "workers", "class_loss": "threads"}.get(key)
    return {name: value for name, value in of_stage.items() if name != how_fast} if how_fast else of_stage


def _begin_from(network: Network, init: str) -> None:
    """Load weights that may lack what has no effect yet: see `_grows_to`."""
    given, wanted = load_network(init), network.config
    if not _grows_to(given.config, wanted):
        raise ValueError(
            f"init={init!r} holds {given.config}, the configuration asks for {wanted}; only residual blocks, "
            "noise features, a patch embedding, a removal head and the ranges of 'quantized-separable' can "
            "be added"
        )
    ranges = ("stream_range", "hidden_range")  # measured anew when training ends
    kept = {name: value for name, value in given.state_dict().items() if name not in ranges}
    if network.removal_head is not None and given.removal_head is None:
        kept |= {f"removal_{name}": kept[name] for name in ("head.weight", "head.bias")}
    network.load_state_dict(network.state_dict() | kept)


def _grows_to(given: NetworkConfig, wanted: NetworkConfig) -> bool:
    """Whether a network can begin as another one does, by more blocks that are the identity and by zeros."""
    have, want = dataclasses.asdict(given), dataclasses.asdict(wanted)
    dense = [table.pop("family") == "dense" for table in (have, want)]
    if dense[0] != dense[1] or have.pop("residual_blocks") > want.pop("residual_blocks"):
        return False
    added = {name for name in ("noise_conditioned", "patch_embedding", "removal_head") if not have.get(name)}
    return all(have[name] == want[name] for name in have if name not in added)
