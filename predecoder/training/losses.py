"""What a step minimizes, of one batch's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit

from predecoder.training.batches import Batch
from predecoder.training.config import StageConfig
from predecoder.training.logical_class import ClassMatching, logical_class_loss
from predecoder.training.tasks import Stream

__all__ = ["BatchLoss", "StageLoss"]


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


class StageLoss:
    """The loss of a stage on any of its streams."""

    def __init__(self, stage: StageConfig, streams: Sequence[Stream]) -> None:
        self._stage, self._streams = stage, streams
        self._matchings: dict[int, list[ClassMatching]] = {}

    def __call__(self, logits: torch.Tensor, batch: Batch, removal: torch.Tensor | None = None) -> BatchLoss:
        """Losses of logits `(B, 24, t, i, j)`, and of those of a removal head, where there is one."""
        labels, mask = (
            torch.from_numpy(a).to(logits.device).permute(0, 4, 1, 2, 3) for a in (batch.labels, batch.mask)
        )
        moves = mask.sum()

        def marginal_of(logits: torch.Tensor) -> torch.Tensor:
            losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return (losses * mask).sum() / (moves * len(logits))

        matched = marginal = marginal_of(logits)
        if removal is not None:
            marginal = marginal_of(removal)
        if self._stage.loss == "marginal":
            return BatchLoss(matched if removal is None else matched + marginal, marginal)
        settings = self._stage.class_loss
        logical_class, of_teacher, wrong = self._of_class(logits, batch)
        total = logical_class
        if of_teacher is not None:
            total = total + settings.teacher_weight * (of_teacher - logical_class)
        total = total + settings.marginal_weight * moves * matched
        if removal is not None:
            total = total + settings.removal_weight * moves * marginal
        return BatchLoss(total, marginal, logical_class, wrong)

    def matchings(self, index: int) -> list[ClassMatching]:
        """Those of the observables of a stream, made once."""
        if index not in self._matchings:
            problem = self._streams[index].problem
            observables = range(problem.layout.num_observables)
            self._matchings[index] = [ClassMatching(problem.moves, k) for k in observables]
        return self._matchings[index]

    def _of_class(
        self, logits: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Mean loss of the true classes, that of the teacher's, and the share that is decided wrongly."""
        places = torch.from_numpy(self._streams[batch.stream].places).to(logits.device)
        by_move = logits.permute(0, 2, 3, 4, 1).reshape(len(logits), -1)[:, places].float()
        known = np.ascontiguousarray(by_move.detach().cpu().numpy())
        of_truth, of_teacher, wrong = [], [], []
        for k, matching in enumerate(self.matchings(batch.stream)):
            difference, truth = matching.difference(known, batch.packed), batch.observables[:, k]
            loss, gap = logical_class_loss(by_move, difference, truth)
            of_truth.append(loss)
            wrong.append((gap.detach() < 0) != torch.from_numpy(truth == 1).to(gap.device))
            if batch.teacher_gaps is not None:
                log_odds = self._stage.class_loss.teacher_scale * batch.teacher_gaps[:, k]
                of_teacher.append(logical_class_loss(by_move, difference, expit(-log_odds))[0])
        teacher = torch.stack(of_teacher).mean() if of_teacher else None
        return torch.stack(of_truth).mean(), teacher, torch.stack(wrong).float().mean()
