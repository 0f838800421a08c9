"""The loss of a network whose logits are matched: which logical class explains the shot at less cost.

Of the moves that explain a shot and flip an observable (class 1) or leave it alone (class 0), the least
costly ones are two matchings on the network's logits. `neural-matching` takes the better class, so what
decides is the difference of the two costs. It is linear in the logits wherever the matchings stay the same:
its gradient is the difference of the two edge sets.

Shape legend: B shots, D detectors, M moves of `MoveSet`, O observables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from predecoder.correction.python_matching import PythonMatching
from predecoder.native import NativeMatching
from qec import LayoutError, MoveSet

__all__ = ["ClassMatching", "logical_class_loss"]


@dataclass(frozen=True)
class _ClassGraph:
    """Moves as edges, one observable being one more detector, which ends the boundary edges that flip it.

    Attributes:
        ends: int32 `(2, M)`, the second -1 where the move ends on the boundary; both are -1 for moves that
            no path connects with the observable: they are the same in both classes.
        kept: uint8 `(ceil((D + 1) / 8),)`, LSB first: detectors on such paths.
    """

    ends: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, moves: MoveSet, observable: int) -> _ClassGraph:
        """Raises `LayoutError` where a move between two detectors flips the observable."""
        detectors = moves.matrix.shape[0]
        flips = np.asarray(moves.observables[observable].todense()).ravel().astype(bool)
        inside = np.flatnonzero(flips & (moves.ends[1] >= 0))
        if len(inside):
            pair = moves.ends[:, inside[0]].tolist()
            raise LayoutError(
                f"observable L{observable} is flipped by {len(inside)} moves between two detectors, such as "
                f"D{pair[0]} and D{pair[1]}; the logical-class loss needs an observable whose moves all end "
                "on the boundary"
            )
        ends = moves.ends.astype(np.int32)
        ends[1, flips] = detectors
        pairs = np.flatnonzero(ends[1] >= 0)
        graph = sp.coo_matrix(
            (np.ones(len(pairs)), tuple(ends[:, pairs])), shape=(detectors + 1, detectors + 1)
        )
        component = connected_components(graph, directed=False)[1]
        connected = component == component[detectors]
        ends[:, ~connected[ends[0]]] = -1
        return cls(ends, np.packbits(connected, bitorder="little"))


class ClassMatching:
    """The least costly moves of both logical classes of an observable, whatever the others do."""

    def __init__(self, moves: MoveSet, observable: int = 0, *, native: bool = True) -> None:
        """Prepares the graph.

        Args:
            native: whether C++ may be used. The costs are the same without.

        Raises:
            LayoutError: a move that flips the observable does not end on the boundary.
        """
        graph = _ClassGraph.of(moves, observable)
        self._ends, self._kept = graph.ends, graph.kept
        self._detectors = moves.matrix.shape[0]
        self._native = NativeMatching(graph.ends, num_detectors=self._detectors + 1) if native else None

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.flatnonzero(self._ends[0] >= 0)

    @cached_property
    def _python(self) -> PythonMatching:
        """Made when it is needed: C++ rarely leaves anything."""
        return PythonMatching(self._ends[:, self._columns], num_detectors=self._detectors + 1)

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
            two arrays uint8 0/1 `(B, M)`.
        """
        syndrome = np.zeros((len(packed), len(self._kept)), dtype=np.uint8)
        syndrome[:, : packed.shape[1]] = packed
        syndrome &= self._kept
        byte, bit = divmod(self._detectors, 8)
        syndrome[:, byte] &= ~np.uint8(1 << bit)
        zero = self._match(logits, syndrome)
        syndrome[:, byte] |= np.uint8(1 << bit)
        return zero, self._match(logits, syndrome)

    def _match(self, logits: np.ndarray, syndrome: np.ndarray) -> np.ndarray:
        if self._native is None:
            moves, left = np.zeros(logits.shape, dtype=np.uint8), np.ones(len(logits), dtype=bool)
        else:
            moves, _, left = self._native(logits, syndrome)
        if left.any():
            part = np.zeros((int(left.sum()), logits.shape[1]), dtype=np.uint8)
            part[:, self._columns] = self._python(logits[left][:, self._columns], syndrome[left]).moves
            moves[left] = part
        return moves


def logical_class_loss(
    logits_BM: torch.Tensor, difference_BM: np.ndarray, flips_B: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """softplus(cost(true class) - cost(other class)) of every shot, and the other cost less the true one.

    Args:
        logits_BM: float32, on which the matchings were made.
        difference_BM: of `ClassMatching.difference`, on the same logits.
        flips_B: bool or 0/1: whether the observable flipped.

    Returns:
        `(B,)` losses in nats, and `(B,)` gaps in nats: negative where the network is wrong.
    """
    sign = 1 - 2 * flips_B.astype(np.float32)
    edges = torch.from_numpy(difference_BM * sign[:, None]).to(logits_BM.device)
    gap = (logits_BM * edges).sum(dim=1)
    return torch.nn.functional.softplus(-gap), gap
