"""How sure decoders are of their predictions: the gap between the two values of an observable.

Shape legend: B shots, D detectors, O observables. Shots are bit-packed uint8, LSB first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import sinter

from global_decoders.packed_shots import UnexplainedShotsError

__all__ = [
    "NoGapError",
    "SoftDecoder",
    "WithGap",
    "decode_explained",
    "decode_with_gap",
    "relative_gap",
    "require_gap",
]

_Decoded = TypeVar("_Decoded")


class NoGapError(ValueError):
    """A decoder predicts, and does not say how sure it is."""


class WithGap(NamedTuple):
    """Predictions, and how sure they are.

    Attributes:
        predictions: `(B, ceil(O / 8))`, those of `decode_shots_bit_packed`.
        gap: float32 `(B, O)`: nats by which what was predicted of an observable is likelier than the other
            value, so that it is wrong with probability 1 / (1 + exp(gap)). Infinite where nothing explains
            the other value; negative where the likeliest errors of both, looked for by themselves, say that
            the prediction is the less likely one (ties, or searches that are not exact).
    """

    predictions: np.ndarray
    gap: np.ndarray

    @property
    def log_odds(self) -> np.ndarray:
        """Of an observable not being flipped, whatever was predicted: float32 `(B, O)`."""
        return relative_gap(self.gap, self.predictions)  # which changes the same signs back

    @property
    def of_shots(self) -> np.ndarray:
        """float32 `(B,)`: the gap of each shot's least sure observable; infinite without observables."""
        return self.gap.min(axis=1, initial=np.inf)


@runtime_checkable
class SoftDecoder(Protocol):
    """A compiled decoder that says how sure it is."""

    def decode_shots_with_gap(
        self, *, bit_packed_detection_event_data: np.ndarray, limit: float = math.inf
    ) -> WithGap:
        """Decode `(B, ceil(D / 8))`.

        Args:
            limit: nats above 0. Gaps that are larger, either way, need not be told apart: they may be any
                from `limit` on. Matchers stop there, which takes less time; predictions are the same.

        Raises:
            NoGapError: a decoder within has no gap, or none on this DEM.
            UnexplainedShotsError, ValueError: what `decode_shots_bit_packed` raises.
        """
        ...


def decode_with_gap(
    compiled: sinter.CompiledDecoder, packed: np.ndarray, *, limit: float = math.inf
) -> WithGap:
    """Decode shots `(B, ceil(D / 8))` with any compiled decoder that has a gap; see `SoftDecoder`.

    Raises:
        NoGapError: it has none.
    """
    if not isinstance(compiled, SoftDecoder):
        raise NoGapError(
            f"{type(compiled).__name__} does not say how sure it is; decoders with a gap are "
            "neural-matching, neural-ensemble, pymatching, pymatching-correlated, fusion-blossom, "
            "belief-matching, bp-osd, bp-lsd, mwpf, tesseract, trellis, and predecoder+X with such an X"
        )
    return compiled.decode_shots_with_gap(bit_packed_detection_event_data=packed, limit=limit)


def decode_explained(
    decode: Callable[[np.ndarray], _Decoded], packed: np.ndarray
) -> tuple[_Decoded, np.ndarray]:
    """Decode shots without those that a decoder says nothing explains.

    Args:
        decode: what is called, for shots `(B, ceil(D / 8))` or some of them.
        packed: the shots.

    Returns:
        What it returns for the shots that it can decode, and int64: their numbers, ascending.
    """
    numbers = np.arange(len(packed))
    while True:
        try:
            return decode(packed[numbers]), numbers
        except UnexplainedShotsError as error:
            numbers = np.delete(numbers, error.shots)


def require_gap(compiled: sinter.CompiledDecoder, *, num_detectors: int) -> None:
    """Raise `NoGapError`, before any shot is decoded, where a decoder has no gap."""
    decode_with_gap(compiled, np.zeros((0, -(-num_detectors // 8)), dtype=np.uint8))


def relative_gap(log_odds: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Gaps of predictions from the log-odds of no flip.

    Args:
        log_odds: `(B, O)`.
        predictions: bit-packed `(B, ceil(O / 8))`.

    Returns:
        float32 `(B, O)`, as in `WithGap`.
    """
    flips = np.unpackbits(predictions, axis=1, count=log_odds.shape[1], bitorder="little")
    return np.where(flips, -log_odds, log_odds).astype(np.float32)
