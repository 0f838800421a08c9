"""What a step minimizes, of one batch's logits.

The matchings that the class loss needs are made on the host, in threads, while the device goes on with the
next batch: `StageLoss.begin` starts them, and what it returns waits for them. Shape legend: B shots, M moves,
O observables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import expit

from predecoder.training.config import StageConfig
from predecoder.training.logical_class import ClassMatching, logical_class_loss
from predecoder.training.tasks import Stream
from predecoder.training.unpacking import Batch

__all__ = ["BatchLoss", "PendingGaps", "PendingLoss", "StageLoss"]


@dataclass(frozen=True)
class BatchLoss:
    """Losses of a batch; `total` is what is minimized.

    Of a network with two heads, `marginal` is the removal head's.

    Attributes:
        total: scalar, in nats per move, or in nats per shot if there is a class loss.
        marginal: scalar: mean cross-entropy of existing moves to their labels, in nats per move.
        logical_class: scalar: of the true classes, mean over shots and observables, in nats; None without it.
        wrong: scalar: share of shots and observables that the matching decides wrongly; None without it.
    """

    total: torch.Tensor
    marginal: torch.Tensor
    logical_class: torch.Tensor | None = None
    wrong: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class PendingLoss:
    """The loss of a batch whose matchings are under way.

    Attributes:
        matched: scalar: the cross-entropy of the logits that are matched.
        removal: the same of a removal head's, where there is one.
        moves: scalar: how many exist.
        by_move: the logits that are matched, float32 `(B, M)`; None without a class loss.
        differences: of each observable, parts of `ClassMatching.difference` in the order of the shots.
    """

    batch: Batch
    matched: torch.Tensor
    removal: torch.Tensor | None
    moves: torch.Tensor
    by_move: torch.Tensor | None = None
    differences: list[list[Future[np.ndarray]]] = field(default_factory=list)

    def matchings(self) -> tuple[list[np.ndarray], float]:
        """Waits for the matchings: int8 `(B, M)` of each observable, and the seconds that were waited."""
        begun = time.monotonic()
        found = [np.concatenate([part.result() for part in parts]) for parts in self.differences]
        return found, time.monotonic() - begun


@dataclass(frozen=True, eq=False)
class PendingGaps:
    """The gaps between the logical classes of a batch, under way.

    Attributes:
        limit: nats; larger ones are not computed to their ends.
        gaps: of each observable, parts of `ClassMatching.gap` in the order of the shots.
    """

    limit: float
    gaps: list[list[Future[np.ndarray]]]

    def small(self) -> np.ndarray:
        """Wait for them; bool `(B,)`: which shots have one below the limit."""
        found = [np.concatenate([part.result() for part in parts]) for parts in self.gaps]
        return np.any(np.abs(found) < self.limit, axis=0)


class StageLoss:
    """The loss of a stage on any of its streams.

    Attributes:
        waited: seconds that were waited for matchings, in all.
    """

    def __init__(self, stage: StageConfig, streams: Sequence[Stream]) -> None:
        self._stage, self._streams = stage, streams
        self._matchings: dict[int, list[ClassMatching]] = {}
        self._places: dict[int, torch.Tensor] = {}
        self._threads = ThreadPoolExecutor(stage.class_loss.threads, thread_name_prefix="matching")
        self.waited = 0.0

    def __call__(self, logits: torch.Tensor, batch: Batch, removal: torch.Tensor | None = None) -> BatchLoss:
        """Losses of logits `(B, 24, t, i, j)`, and of those of a removal head, where there is one."""
        return self.end(self.begin(logits, batch, removal))

    def begin(self, logits: torch.Tensor, batch: Batch, removal: torch.Tensor | None = None) -> PendingLoss:
        """Start the matchings of a batch; see `__call__` for its arguments.

        Raises:
            ValueError: the batch has no labels.
        """
        if batch.labels is None:
            raise ValueError("a batch without labels has no loss; DeviceLabels makes those of the trainer")
        labels, moves = batch.labels, batch.mask.sum()

        def marginal_of(logits: torch.Tensor) -> torch.Tensor:
            losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return (losses * batch.mask).sum() / (moves * len(logits))

        marginals = marginal_of(logits), None if removal is None else marginal_of(removal)
        if self._stage.loss == "marginal":
            return PendingLoss(batch, *marginals, moves)
        by_move = self._by_move(logits, batch.stream)
        differences = self._in_threads(
            by_move.detach(), batch, lambda matching, *of: matching.difference(*of)
        )
        return PendingLoss(batch, *marginals, moves, by_move, differences)

    def gaps(self, logits: torch.Tensor, batch: Batch) -> PendingGaps:
        """Start on the gaps of logits `(B, 24, t, i, j)`, no further than `class_loss.small_gap`."""
        limit = self._stage.class_loss.small_gap
        by_move = self._by_move(logits, batch.stream)
        return PendingGaps(
            limit, self._in_threads(by_move, batch, lambda matching, *of: matching.gap(*of, limit=limit))
        )

    def end(self, pending: PendingLoss) -> BatchLoss:
        """Wait for the matchings, and compute the losses."""
        matched, removal = pending.matched, pending.removal
        marginal = matched if removal is None else removal
        if pending.by_move is None:
            return BatchLoss(matched if removal is None else matched + removal, marginal)
        settings, moves = self._stage.class_loss, pending.moves
        logical_class, of_teacher, wrong = self._of_class(pending)
        total = logical_class
        if of_teacher is not None:
            total = total + settings.teacher_weight * (of_teacher - logical_class)
        total = total + settings.marginal_weight * moves * matched
        if removal is not None:
            total = total + settings.removal_weight * moves * removal
        return BatchLoss(total, marginal, logical_class, wrong)

    def matchings(self, index: int) -> list[ClassMatching]:
        """Those of the observables of a stream, made once."""
        if index not in self._matchings:
            problem = self._streams[index].problem
            observables = range(problem.layout.num_observables)
            self._matchings[index] = [ClassMatching(problem.moves, k) for k in observables]
        return self._matchings[index]

    def _places_of(self, index: int, device: torch.device) -> torch.Tensor:
        if index not in self._places:
            self._places[index] = torch.from_numpy(self._streams[index].places).to(device)
        return self._places[index]

    def _by_move(self, logits: torch.Tensor, index: int) -> torch.Tensor:
        """Logits of the moves that exist, float32 `(B, M)`."""
        rows = logits.permute(0, 2, 3, 4, 1).reshape(len(logits), -1)
        return rows[:, self._places_of(index, logits.device)].float()

    def _in_threads(
        self,
        by_move: torch.Tensor,
        batch: Batch,
        matched: Callable[[ClassMatching, np.ndarray, np.ndarray], np.ndarray],
    ) -> list[list[Future[np.ndarray]]]:
        """Of every observable, what parts of the shots give, one for each thread, on a copy of the logits."""
        known, ready = _on_host(by_move)
        parts = np.array_split(np.arange(len(known)), min(len(known), self._stage.class_loss.threads))

        def of_part(matching: ClassMatching, part: slice) -> np.ndarray:
            ready()
            return matched(matching, known[part], batch.packed[part])

        return [
            [self._threads.submit(of_part, matching, slice(shots[0], shots[-1] + 1)) for shots in parts]
            for matching in self.matchings(batch.stream)
        ]

    def _of_class(self, pending: PendingLoss) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Mean loss of the true classes, that of the teacher's, and the share that is decided wrongly."""
        batch, by_move = pending.batch, pending.by_move
        assert by_move is not None
        differences, seconds = pending.matchings()
        self.waited += seconds
        of_truth, of_teacher, wrong = [], [], []
        for k, difference in enumerate(differences):
            truth = batch.observables[:, k]
            loss, gap = logical_class_loss(by_move, difference, truth)
            of_truth.append(loss)
            wrong.append((gap.detach() < 0) != torch.from_numpy(truth == 1).to(gap.device))
            if batch.teacher_gaps is not None:
                log_odds = self._stage.class_loss.teacher_scale * batch.teacher_gaps[:, k]
                of_teacher.append(logical_class_loss(by_move, difference, expit(-log_odds))[0])
        teacher = torch.stack(of_teacher).mean() if of_teacher else None
        return torch.stack(of_truth).mean(), teacher, torch.stack(wrong).float().mean()


def _on_host(values: torch.Tensor) -> tuple[np.ndarray, Callable[[], None]]:
    """A copy in the host's memory, and what to call before it is read: the device's copy may be under way."""
    if values.device.type != "cuda":
        return np.ascontiguousarray(values.cpu().numpy()), lambda: None
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host.numpy(), copied.synchronize
