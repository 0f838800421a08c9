"""The recipe for some minutes of one GPU: its state in OUT every minute, and what it was worth at the end.

OUT gets checkpoint.pt (to go on from: --resume), averaged.safetensors with its card, log.jsonl, and
train.json: how fast, what the device waited for, and logical errors before and after on the same fresh
shots. All are files of a few megabytes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from predecoder import NeuralMatchingDecoder
from predecoder.training import StageConfig, StepReport, TaskConfig, load_config, train_stage
from qec import normal_form
from scripts.gpu.kit import Deadline, Report, about, flags, memory

__all__ = ["main"]

CONFIG = Path("configs/accurate-gpu.toml")
KEPT = ("checkpoint.pt", "averaged.safetensors", "averaged.json", "log.jsonl")
_COPY_SECONDS, _PRINT_SECONDS = 60.0, 10.0
_EVALUATION_SHARE = 0.12
"""Of the seconds, for logical errors before and after."""
CELLS = ((5, 0.006), (9, 0.006), (13, 0.006), (5, 0.003))
SMALL_CELLS = ((5, 0.01),)  # at d = 3 a perfect last round leaves fewer rounds than weights are used for
_CHUNK = {5: 32_768, 9: 16_384, 13: 8_192}
_SEED = 20_261_130


def main() -> int:
    """Train, measure; returns 0, or 1 where the run broke, with what it had in OUT."""
    parser = flags(__doc__ or "", seconds=440)
    parser.add_argument("--minutes", type=float, help="of training; by default what --seconds allow")
    parser.add_argument("--init", help="weights to begin with, in place of the recipe's")
    parser.add_argument("--resume", type=Path, help="a checkpoint.pt to go on from")
    given = parser.parse_args()
    deadline = Deadline(given.seconds)
    device = torch.device(given.device)
    stage = _stage(given)
    work = given.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    if given.resume:
        shutil.copy(given.resume, work / "checkpoint.pt")
    report = Report(given.out / "train.json", about=about(given.device), stage=dataclasses.asdict(stage))
    minutes = given.minutes or (1 - _EVALUATION_SHARE) * given.seconds / 60
    watch = _Watch(work, given.out, report)
    broke = None
    try:
        train_stage(stage, work, device=device, on_step=watch, minutes=minutes)
    except Exception as error:  # noqa: BLE001 - said, and what there is of the run is measured
        broke = f"{type(error).__name__}: {error}"
        report.add(error=broke)
    watch.copy()
    watch.summary()
    weights = work / "averaged.safetensors"
    if weights.exists():
        _compare(stage, weights, given, deadline, report)
    shutil.rmtree(work)
    return int(broke is not None)


def _stage(given) -> StageConfig:
    (stage,) = load_config(CONFIG).stages
    if given.init:
        stage = dataclasses.replace(stage, init=given.init)
    if not given.small:
        return stage
    one = TaskConfig(3, p=0.01, orientations=("XV",), shots="mined")
    tasks = (one, dataclasses.replace(one, rounds=(2, 5)))
    return dataclasses.replace(
        stage,
        tasks=tasks,
        checkpoint_seconds=2.0,
        data=dataclasses.replace(stage.data, blocks_per_batch=64, batches_per_step=2, workers=2),
        class_loss=dataclasses.replace(stage.class_loss, threads=2, looks=2),
        optimizer=dataclasses.replace(stage.optimizer, precision="float32"),
    )


class _Watch:
    """Says how the run goes, and copies its state out every minute."""

    def __init__(self, work: Path, out: Path, report: Report) -> None:
        self._work, self._out, self._report = work, out, report
        self._copied = self._printed = time.monotonic()
        self._seen: list[StepReport] = []
        self._said = time.monotonic()
        self._samples: int | None = None

    def __call__(self, step: StepReport) -> None:
        self._seen.append(step)
        now = time.monotonic()
        if now - self._printed > _PRINT_SECONDS or step.step == 1:
            self.summary()
            self._printed = now
        if now - self._copied > _COPY_SECONDS:
            self.copy()
            self._copied = now

    def summary(self) -> None:
        """A row of what happened since the last one."""
        if not self._seen:
            return
        first, last = self._seen[0], self._seen[-1]
        updates = sum(one.update_seconds for one in self._seen)
        before = first.samples if self._samples is None else self._samples
        now = time.monotonic()
        spent = max(1e-9, now - self._said)
        self._said, self._samples = now, last.samples
        numbers: dict[str, Any] = {
            "step": last.step,
            "samples": last.samples,
            "seconds": last.seconds,
            "loss": float(np.mean([one.loss for one in self._seen])),
            "logical_class": float(np.mean([one.logical_class or 0.0 for one in self._seen])),
            "wrong": float(np.mean([one.wrong or 0.0 for one in self._seen])),
            "learning_rate": last.learning_rate,
            "steps_per_second": len(self._seen) / spent,
            "shots_per_second": (last.samples - before) / spent,
            "waited_for_batches": max(0.0, 1 - updates / spent),
            "waited_for_matchings": sum(one.matching_seconds for one in self._seen) / spent,
        }
        self._report.add(**numbers)
        self._seen = []

    def copy(self) -> None:
        """The state of the last checkpoint, to OUT."""
        for name in KEPT:
            if (self._work / name).exists():
                partial = self._out / f"{name}.partial"
                shutil.copy(self._work / name, partial)
                partial.replace(self._out / name)


def _compare(stage: StageConfig, weights: Path, given, deadline: Deadline, report: Report) -> None:
    """Logical errors of the weights to begin with and of those that came out, on the same fresh shots."""
    names = {"before": stage.init or "accurate", "after": str(weights)}
    cells = SMALL_CELLS if given.small else CELLS
    counts = {cell: dict.fromkeys(("shots", *names, "only before", "only after"), 0) for cell in cells}
    built, turn, longest = {}, 0, 0.0
    while not turn or deadline.left > 1.5 * longest:
        begun = time.monotonic()
        for cell in cells:
            d, p = cell
            circuit, dem = memory(d, p, perfect_last_round=True)
            if cell not in built:
                normal = normal_form(dem)
                built[cell] = {
                    name: NeuralMatchingDecoder(
                        weights=of, device=given.device, precision="float32"
                    ).compile_normal_form(normal)
                    for name, of in names.items()
                }
            chunk = 512 if given.small else _CHUNK[d]
            packed, truth = circuit.compile_detector_sampler(seed=_SEED + 1000 * d + turn).sample(
                chunk, separate_observables=True, bit_packed=True
            )
            wrong = {
                name: (of.decode_shots_bit_packed(bit_packed_detection_event_data=packed) != truth).any(
                    axis=1
                )
                for name, of in built[cell].items()
            }
            before, after = wrong["before"], wrong["after"]
            found = (chunk, before.sum(), after.sum(), (before & ~after).sum(), (after & ~before).sum())
            for name, more in zip(counts[cell], found, strict=True):
                counts[cell][name] += int(more)
        turn += 1
        longest = max(longest, time.monotonic() - begun)
        if given.small:
            break
    for (d, p), of in counts.items():
        report.add(d=d, p=p, **of)
    print(json.dumps({f"d={d} p={p:g}": of for (d, p), of in counts.items()}))


if __name__ == "__main__":
    sys.exit(main())
