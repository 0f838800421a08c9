"""A stream of shots of any length as a few blocks of moments."""

from __future__ import annotations

import numpy as np

from noise_learning.moments.moments import Moments
from noise_learning.moments.subsets import Subsets

__all__ = ["BlockLog"]

_FIRST_BLOCK = 1024
_MOST_BLOCKS = 32
_COUNT_SHOTS = 32_768


class BlockLog:
    """Moments of consecutive blocks of equal size, at most _MOST_BLOCKS of them.

    The length of a stream is not known beforehand: when there are too many blocks, neighbours are added and
    blocks are twice as long from then on. So memory does not depend on the number of shots.
    """

    def __init__(self, subsets: Subsets) -> None:
        self._subsets = subsets
        self._size = _FIRST_BLOCK
        self._blocks: list[Moments] = []
        self._open = Moments.zero(subsets)
        self._waiting: list[np.ndarray] = []

    @property
    def blocks(self) -> list[Moments]:
        """The blocks so far, the last one possibly shorter."""
        self._count()
        return [*self._blocks, *([self._open] if self._open.weight else [])]

    @property
    def shots(self) -> int:
        """All shots so far."""
        return len(self._blocks) * self._size + round(self._open.weight) + self._waiting_shots

    @property
    def total(self) -> Moments:
        """Moments of all shots."""
        return sum(self.blocks, start=Moments.zero(self._subsets))

    def add(self, detections: np.ndarray) -> None:
        """Adds shots.

        Args:
            detections: uint8 (shots, ceil(num_detectors / 8)), little-endian bits.

        Raises:
            ValueError: another dtype or shape.
        """
        while len(detections):
            room = min(self._size - round(self._open.weight), _COUNT_SHOTS)
            taken = detections[: room - self._waiting_shots]
            self._waiting.append(taken)
            detections = detections[len(taken) :]
            if self._waiting_shots == room:
                self._count()
            if round(self._open.weight) == self._size:
                self._close()

    @property
    def _waiting_shots(self) -> int:
        return sum(map(len, self._waiting))

    def _count(self) -> None:
        if self._waiting:
            self._open += Moments.from_shots(self._subsets, np.concatenate(self._waiting))
            self._waiting = []

    def _close(self) -> None:
        self._blocks.append(self._open)
        self._open = Moments.zero(self._subsets)
        if len(self._blocks) == _MOST_BLOCKS:
            self._blocks = [a + b for a, b in zip(self._blocks[::2], self._blocks[1::2], strict=True)]
            self._size *= 2
