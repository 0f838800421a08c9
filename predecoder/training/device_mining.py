"""Shots that the network in training barely decides, found by the trainer: its device computes the logits of
every shot that workers sample, and its threads compare both logical classes of each.

On a GPU that is cheaper than `MinedShots` by far: no matching of the whole shot is needed, no smaller network
stands in for the one in training, and of the gaps between the classes only small ones are computed to their
ends. Which shots are kept is a function of the syndrome and the weights alone. Shape legend: B shots, O
observables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from predecoder.training.losses import PendingGaps, StageLoss
from predecoder.training.making import Made
from predecoder.training.run import TrainingRun
from predecoder.training.tasks import Stream
from predecoder.training.unpacking import Batch, Unpacker

__all__ = ["DeviceMining"]

_UNDER_WAY = 3
"""Batches that are looked at together: the device computes some while the host matches others."""
_MOST_LOOKS = 10_000
"""In a row that may fill no batch of kept shots."""


class DeviceMining:
    """Turns the batches that workers sample into batches of kept shots; those of unmined tasks stay whole.

    Batches of a stream are full, as large as `data.blocks_per_batch` says. What is kept and fills none yet is
    not in checkpoints: a run that goes on looks at other shots.
    """

    def __init__(
        self, sampled: Iterator[Batch], run: TrainingRun, loss_of: StageLoss, streams: Sequence[Stream]
    ) -> None:
        """Nothing is computed yet.

        Args:
            sampled: what `batches` yields.
            run: its network looks at the shots, as it is when their turn comes.
        """
        self._sampled, self._run, self._loss_of, self._streams = sampled, run, loss_of, streams
        self._looking: deque[tuple[Batch, PendingGaps | None]] = deque()
        self._kept: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._unpackers: dict[int, Unpacker] = {}
        self._last: int | None = None  # stream that shots were kept of last: no other can fill a batch

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch to learn from.

        Raises:
            ValueError: hardly any shot is kept.
        """
        # One look may keep several batches of shots.
        made = None if self._last is None else self._full(self._last)
        if made is not None:
            return made
        for _ in range(_MOST_LOOKS):
            while len(self._looking) < _UNDER_WAY:
                self._look(next(self._sampled))
            batch, gaps = self._looking.popleft()
            if gaps is None:
                return batch
            self._last = batch.stream
            self._keep(batch, gaps.small())
            made = self._full(batch.stream)
            if made is not None:
                return made
        raise ValueError(
            f"{_MOST_LOOKS:,} batches had no more doubtful shots than {self._said()}; raise p of the mined "
            "tasks, raise class_loss small_gap, or lower data blocks_per_batch"
        )

    def close(self) -> None:
        """End the workers."""
        self._sampled.close()  # pyright: ignore[reportAttributeAccessIssue]

    @torch.no_grad()
    def _look(self, batch: Batch) -> None:
        gaps = None
        if self._streams[batch.stream].task.shots == "mined":
            logits, _ = self._run.logits(batch)
            gaps = self._loss_of.gaps(logits, batch)
        self._looking.append((batch, gaps))

    def _keep(self, batch: Batch, small_B: np.ndarray) -> None:
        if small_B.any():
            kept = self._kept.setdefault(batch.stream, [])
            kept.append((batch.packed[small_B], batch.observables[small_B]))

    def _full(self, index: int) -> Batch | None:
        """The first shots that are kept of a stream, if they fill a batch."""
        stream, kept = self._streams[index], self._kept.get(index, [])
        wanted = stream.batch_shots(self._run.stage.data.blocks_per_batch)
        if sum(len(packed) for packed, _ in kept) < wanted:
            return None
        packed, observables = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        self._kept[index] = [(packed[wanted:], observables[wanted:])]
        if index not in self._unpackers:
            self._unpackers[index] = Unpacker(stream, self._run.device)
        bits: Any = np.packbits(observables[:wanted], axis=1, bitorder="little")
        none = np.zeros((wanted, 0), dtype=np.uint8)
        return self._unpackers[index](Made(index, packed[:wanted], none, bits, None))

    def _said(self) -> str:
        counts = {k: sum(len(packed) for packed, _ in kept) for k, kept in self._kept.items()}
        return ", ".join(f"{n} of {self._streams[k].name}" for k, n in counts.items()) or "none"
