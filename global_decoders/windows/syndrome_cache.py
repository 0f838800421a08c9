"""Answers that a small window gave before: its syndromes recur within a batch and along a stream.

Shape legend: S shots, W words of 64 bits, F flips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["MOST_BYTES", "SyndromeCache"]

MOST_BYTES = 16
"""Size of the largest packed syndrome that is cached; those of larger windows hardly recur."""

_SLOTS_LOG2 = 14
"""A table of less than half a megabyte stays in the cache."""

_MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


class SyndromeCache:
    """A decoder with a table of syndromes it has decoded, the latest for each value of a hash.

    Args:
        decode: uint8 (S, size), packed, -> uint8 0/1 (S, F); always the same for the same syndrome.
        size: bytes of a syndrome, at least 1 and at most `MOST_BYTES`.
    """

    def __init__(self, decode: Callable[[np.ndarray], np.ndarray], *, size: int) -> None:
        self._decode = decode
        self._words = -(-size // 8)
        self._trivial = decode(np.zeros((1, size), dtype=np.uint8))
        # An empty slot is the syndrome without detections; its answer, which is kept as the
        # difference to that of no detections, is then right.
        self._keys = np.zeros((1 << _SLOTS_LOG2, self._words), dtype=np.uint64)
        self._answers = np.zeros((1 << _SLOTS_LOG2, self._trivial.shape[1]), dtype=np.uint8)
        self._claims = np.zeros(1 << _SLOTS_LOG2, dtype=np.int64)

    def __call__(self, packed: np.ndarray) -> np.ndarray:
        """What `decode(packed)` gives."""
        padded = np.zeros((len(packed), 8 * self._words), dtype=np.uint8)
        padded[:, : packed.shape[1]] = packed
        words = padded.view(np.uint64)
        mixed = np.bitwise_xor.reduce(words * _MIXERS[: self._words], axis=1)
        slots = mixed >> np.uint64(64 - _SLOTS_LOG2)
        answers = self._answers[slots] ^ self._trivial
        new = np.flatnonzero(~self._holds(slots, words))
        if len(new):
            # Of several that want one slot, one gets it.
            self._claims[slots[new]] = new
            learned = new[self._claims[slots[new]] == new]
            self._learn(slots[learned], words[learned], packed[learned])
            answers[new] = self._answers[slots[new]] ^ self._trivial
            left = new[~self._holds(slots[new], words[new])]
            if len(left):
                answers[left] = self._decode(packed[left])
        return answers

    @property
    def num_bytes(self) -> int:
        """Size of the table, once all of it was touched."""
        return self._keys.nbytes + self._answers.nbytes + self._claims.nbytes

    def _holds(self, slots: np.ndarray, words: np.ndarray) -> np.ndarray:
        """bool (S,): whether the table has these syndromes, uint64 (S, W), in these slots."""
        return (self._keys[slots] == words).all(axis=1)

    def _learn(self, slots: np.ndarray, words: np.ndarray, packed: np.ndarray) -> None:
        """Decodes syndromes and puts each into its slot."""
        self._answers[slots] = self._decode(packed) ^ self._trivial
        self._keys[slots] = words
