"""The loss of a network whose logits are matched: which logical class explains the shot at less cost.

Of the moves that explain a shot and flip an observable (class 1) or leave it alone (class 0), the least
costly ones are two matchings on the network's logits. `neural-matching` takes the better class, so what
decides is the difference of the two costs. It is linear in the logits wherever the matchings stay the same:
its gradient is the difference of the two edge sets.

Shape legend: B shots, D detectors, M moves of `MoveSet`, O observables.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from global_decoders.matching import LogitMatcher
from qec import LayoutError, MoveSet

__all__ = ["ClassMatching", "logical_class_loss"]


class ClassMatching:
    """The least costly moves of both logical classes of an observable, whatever the others do."""

    def __init__(self, moves: MoveSet, observable: int = 0) -> None:
        """Prepare the graph: detectors that no path connects with the observable are left out.

        Raises:
            LayoutError: a cycle of moves between detectors flips the observable.
        """
        flips = np.asarray(moves.observables[observable].todense()).ravel().astype(np.uint8)
        ends, kept = _connected(moves.ends.astype(np.int32), flips, num_detectors=moves.matrix.shape[0])
        self._kept = np.packbits(kept, bitorder="little")
        try:
            self._matcher = LogitMatcher(ends, num_detectors=len(kept), flips=flips)
        except ValueError as error:
            raise LayoutError(f"observable L{observable}: {error}") from error

    def difference(self, logits: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """The moves of class 0 less those of class 1, see `of_classes`.

        Returns:
            int8 `(B, M)`. Its product with the logits is cost(class 1) - cost(class 0), in nats.
        """
        zero, one = self.of_classes(logits, packed)
        return zero.view(np.int8) - one.view(np.int8)

    def of_classes(self, logits: np.ndarray, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The moves of class 0 and of class 1, of those that a path connects with the observable.

        Args:
            logits: float32 `(B, M)`.
            packed: uint8 `(B, ceil(D / 8))`, LSB first: detections.

        Returns:
            two arrays uint8 0/1 `(B, M)`; both are empty where no moves explain a shot.
        """
        zero, one, _ = self._matcher.classes(logits, packed & self._kept)
        return zero, one

    def gap(self, logits: np.ndarray, packed: np.ndarray, *, limit: float = math.inf) -> np.ndarray:
        """cost(class 1) - cost(class 0), in nats, at most `limit` either way: float32 `(B,)`.

        Takes less time than the moves, and the less the smaller the limit is.
        """
        return self._matcher.gap(logits, packed & self._kept, limit=limit)


def _connected(ends: np.ndarray, flips: np.ndarray, *, num_detectors: int) -> tuple[np.ndarray, np.ndarray]:
    """What a path connects with a move that flips: ends `(2, M)`, else -1; detectors, bool `(D,)`."""
    inside = np.flatnonzero(ends[1] >= 0)
    pairs = (np.ones(len(inside)), tuple(ends[:, inside]))
    graph = sp.coo_matrix(pairs, shape=(num_detectors, num_detectors))
    component = connected_components(graph, directed=False)[1]
    near = np.isin(component, component[ends[0, flips.astype(bool)]])
    return np.where(near[ends[0]], ends, -1), near


def logical_class_loss(
    logits_BM: torch.Tensor, difference_BM: np.ndarray, flipped_B: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the observable's flip, the gap between both classes' costs being its log-odds.

    Where the truth is known it is softplus(cost(true class) - cost(other class)).

    Args:
        logits_BM: float32, on which the matchings were made.
        difference_BM: of `ClassMatching.difference`, on the same logits.
        flipped_B: whether the observable flipped, 0 or 1; or how likely that is.

    Returns:
        `(B,)` losses in nats, and `(B,)` cost(class 1) - cost(class 0) in nats.
    """
    difference = torch.from_numpy(difference_BM).to(logits_BM.device).float()  # a byte a move on the way
    flipped = torch.from_numpy(flipped_B.astype(np.float32)).to(logits_BM.device)
    gap = (logits_BM * difference).sum(dim=1)
    softplus = torch.nn.functional.softplus
    return flipped * softplus(gap) + (1 - flipped) * softplus(-gap), gap
