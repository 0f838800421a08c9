"""What the recipe for a GPU gets done in its minutes: steps, mined shots of every task, and what is busy.

    python -m scripts.gpu.plan [--card H100] [--cores 16] [--minutes 6.4]

The card's times are the cost model's, the host's were measured: one core of an EPYC of the Zen 4 generation,
X memory experiments of d rounds with a perfect last round, `accurate-matching` in bfloat16. Randomized noise
and other numbers of rounds are taken for as dear, by the round, as uniform noise of the same p.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from cuda.qecpipe.cost import Card, Stage, card_called, estimate
from predecoder.inference import Volume, network_stages, training_stages
from predecoder.training import StageConfig, TaskConfig, load_config
from scripts.gpu.train import CONFIG

__all__ = ["Plan", "main", "plan"]


@dataclass(frozen=True)
class Looking:
    """What a shot costs a core, in microseconds, and which share is kept.

    Attributes:
        sampling: by Stim, from the DEM.
        gap: between its logical classes, up to 3 nats.
        kept: share with a smaller gap.
    """

    sampling: float
    gap: float
    kept: float


LOOKING = {
    (5, 0.002): Looking(0.4, 0.4, 0.0022),
    (5, 0.003): Looking(0.4, 0.8, 0.0087),
    (5, 0.006): Looking(0.7, 1.1, 0.060),
    (9, 0.004): Looking(3.9, 4.0, 0.0048),
    (9, 0.006): Looking(4.2, 6.7, 0.024),
    (9, 0.008): Looking(4.2, 9.0, 0.078),
    (13, 0.006): Looking(11.6, 20.4, 0.0122),
    (13, 0.008): Looking(16.2, 32.8, 0.078),
    (17, 0.006): Looking(46, 62, 0.002),
    (17, 0.008): Looking(57, 83, 0.063),
}
"""By distance and p: 300 to 6,000 shots each, so that shares are good to a third; none of 300 was kept at d =
17, p = 0.006, which stands for one of 500."""
CLASSES_US = {5: 6.0, 9: 45.0, 13: 123.0, 17: 307.0}
"""Microseconds of a core for both matchings of a kept shot of d rounds."""
_STEP_SECONDS = 2e-3
"""Of the optimizer and all that is once a step."""


@dataclass(frozen=True)
class Plan:
    """A run of some minutes.

    Attributes:
        steps: that are done.
        shots: kept shots of every task in a step, on average, in the order of the tasks.
        card_busy, cores_busy: shares of the time; one of them is 1.
    """

    steps: float
    shots: list[float]
    card_busy: float
    cores_busy: float


def plan(stage: StageConfig, card: Card, *, cores: int, seconds: float) -> Plan:
    """Compute it for a stage whose tasks are all mined by the trainer.

    Raises:
        KeyError: the times of a task were not measured.
    """
    total = sum(task.weight for task in stage.tasks)
    data, looks = stage.data, stage.class_loss.looks

    def on_card(stages: list[Stage]) -> float:
        return estimate(stages, card, shots=1).resources["card"]

    config, precision, blocks = stage.network, stage.optimizer.precision, data.blocks_per_batch
    look = on_card(network_stages(config, looks * blocks, precision=precision, fused=False))
    learn = on_card(training_stages(config, blocks, precision=precision))
    learn += on_card(network_stages(config, blocks, precision=precision, fused=False))  # its labels
    card_seconds, host_seconds, batches = 0.0, 0.0, 0.0
    kept = []
    for task in stage.tasks:
        share = task.weight / total
        looked, of_look, held = _of_task(task, looks * blocks)
        full = share * looks * held  # batches that one look fills, on average
        card_seconds += share * look + full * learn
        host_seconds += share * looked * of_look + full * looked / looks * _classes(task)
        batches += full
        kept.append(share * looked * held)
    card_seconds += batches / data.batches_per_step * _STEP_SECONDS
    of_look = max(card_seconds, host_seconds / cores)
    steps = seconds / of_look * batches / data.batches_per_step
    shots = [of_task * data.batches_per_step / batches for of_task in kept]
    return Plan(steps, shots, card_seconds / of_look, host_seconds / cores / of_look)


def _of_task(task: TaskConfig, blocks: int) -> tuple[float, float, float]:
    """Shots of so many blocks, seconds of a core for each, and the share that is kept; means over rounds."""
    (d,) = task.sides
    found = LOOKING[d, task.p]
    volumes = [Volume.of_memory(d, rounds).num_blocks for rounds in task.all_rounds]
    shots = sum(blocks / one for one in volumes) / len(volumes)
    rounds = sum(task.all_rounds) / len(task.all_rounds) / d
    return shots, 1e-6 * rounds * (found.sampling + found.gap), min(1.0, rounds * found.kept)


def _classes(task: TaskConfig) -> float:
    (d,) = task.sides
    return 1e-6 * CLASSES_US[d] * sum(task.all_rounds) / len(task.all_rounds) / d


def main() -> int:
    """Print the plan; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", default="H100")
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=6.4)
    given = parser.parse_args()
    (stage,) = load_config(CONFIG).stages
    found = plan(stage, card_called(given.card), cores=given.cores, seconds=60 * given.minutes)
    print(f"{given.card}, {given.cores} cores, {given.minutes:g} minutes: {found.steps:,.0f} steps")
    print(f"busy: the card {found.card_busy:.0%}, the cores {found.cores_busy:.0%} of the time")
    print("mined shots of a step, and in all:")
    for task, shots in zip(stage.tasks, found.shots, strict=True):
        rounds = "" if task.rounds is None else f", {' or '.join(map(str, task.all_rounds))} rounds"
        what = f"d = {task.distance}, p = {task.p:g}, {task.noise}{rounds}"
        print(f"  {what}: {shots:,.0f}, {shots * found.steps:,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
