"""What a step minimizes, of one batch's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from predecoder.training.batches import Batch
from predecoder.training.config import StageConfig
from predecoder.training.logical_class import ClassMatching, logical_class_loss
from predecoder.training.tasks import Stream

__all__ = ["BatchLoss", "StageLoss"]


@dataclass(frozen=True)
class BatchLoss:
    """Losses of a batch; `total` is what is minimized.

    Attributes:
        total: scalar, in nats per move, or in nats per shot if there is a class loss.
        marginal: scalar: mean cross-entropy of existing moves to their labels, in nats per move.
        logical_class: scalar: mean over shots and observables, in nats; None without it.
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

    def __call__(self, logits: torch.Tensor, batch: Batch) -> BatchLoss:
        """Losses of logits `(B, 24, t, i, j)`."""
        labels, mask = (
            torch.from_numpy(a).to(logits.device).permute(0, 4, 1, 2, 3) for a in (batch.labels, batch.mask)
        )
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        moves = mask.sum()
        marginal = (losses * mask).sum() / (moves * len(logits))
        if self._stage.loss == "marginal":
            return BatchLoss(marginal, marginal)
        gaps, of_class = zip(*self._of_class(logits, batch), strict=True)
        logical_class = torch.stack(of_class).mean()
        total = logical_class + self._stage.class_loss.marginal_weight * moves * marginal
        wrong = (torch.stack(gaps).detach() < 0).float().mean()
        return BatchLoss(total, marginal, logical_class, wrong)

    def _of_class(self, logits: torch.Tensor, batch: Batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Gap and loss `(B,)` of every observable."""
        stream = self._streams[batch.stream]
        if batch.stream not in self._matchings:
            observables = range(stream.problem.layout.num_observables)
            self._matchings[batch.stream] = [ClassMatching(stream.problem.moves, k) for k in observables]
        places = torch.from_numpy(stream.places).to(logits.device)
        by_move = logits.permute(0, 2, 3, 4, 1).reshape(len(logits), -1)[:, places].float()
        known = np.ascontiguousarray(by_move.detach().cpu().numpy())
        results = []
        for k, matching in enumerate(self._matchings[batch.stream]):
            difference = matching.difference(known, batch.packed)
            loss, gap = logical_class_loss(by_move, difference, batch.observables[:, k])
            results.append((gap, loss))
        return results
