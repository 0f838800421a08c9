"""Any number of decoders, or files of predictions, on the same shots: who is wrong where.

Shape legend: N decoders.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import sinter

from global_decoders import numbered_after
from qec import ShotFileError
from sims.shot_files.source import Chunk
from sims.statistics import Estimate, rate_ratio

__all__ = ["MOST_DECODERS", "Comparison", "Pair", "Predict", "compare", "predict_with"]

MOST_DECODERS = 16
"""Which decoders are wrong together is counted for every subset of them."""

Predict = Callable[[np.ndarray], np.ndarray]
"""From detections to predictions, bit-packed; called with consecutive chunks of shots."""


def predict_with(compiled: sinter.CompiledDecoder) -> Predict:
    """The predictions of a compiled decoder."""
    return lambda packed: compiled.decode_shots_bit_packed(bit_packed_detection_event_data=packed)


@dataclass(frozen=True)
class Pair:
    """Two decoders on the same shots.

    Attributes:
        only_first, only_second: discordant shots, on which one of them alone is wrong.
        p_value: how likely discordant shots are shared out at least as unevenly by two decoders that are as
            good as each other (McNemar's exact test, two-sided).
        ratio: only_second / only_first with its interval; None without discordant shots.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float
    ratio: Estimate | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Counts over shots; the errors cover the `judged` ones, whose observables are known. They add.

    Attributes:
        names: of the decoders.
        shots, judged: how many there are, and with known observables.
        patterns: int64 `(2^N,)`: judged shots by which decoders are wrong, decoder k as bit k.
        differing: int64 `(N, N)`: shots with different predictions.
        seconds: float64 `(N,)`: what predicting took.
    """

    names: tuple[str, ...]
    shots: int
    judged: int
    patterns: np.ndarray
    differing: np.ndarray
    seconds: np.ndarray

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        predictions: list[np.ndarray],
        observed: np.ndarray | None,
        *,
        seconds: np.ndarray,
    ) -> Comparison:
        """Count one chunk.

        Args:
            names: of the decoders.
            predictions: uint8 `(shots, bytes)` of each.
            observed: the same of what was measured; None where that is not known.
            seconds: float64 `(N,)`.
        """
        differing = np.array([[(a != b).any(axis=1).sum() for b in predictions] for a in predictions])
        patterns = np.zeros(2 ** len(names), dtype=np.int64)
        if observed is not None:
            wrong = [(p != observed).any(axis=1).astype(np.int64) << k for k, p in enumerate(predictions)]
            patterns += np.bincount(np.sum(wrong, axis=0), minlength=len(patterns))
        shots = len(predictions[0])
        judged = 0 if observed is None else shots
        return cls(names, shots, judged, patterns, differing.astype(np.int64), seconds)

    def __add__(self, other: Comparison) -> Comparison:
        if self.names != other.names:
            raise ValueError(f"comparisons of {self.names} and of {other.names} do not add")
        return Comparison(
            self.names,
            self.shots + other.shots,
            self.judged + other.judged,
            self.patterns + other.patterns,
            self.differing + other.differing,
            self.seconds + other.seconds,
        )

    @property
    def wrong(self) -> np.ndarray:
        """int64 `(N,)`: errors of each decoder."""
        return np.array([self.patterns[self._bit(k)].sum() for k in range(len(self.names))])

    @property
    def all_wrong(self) -> int:
        """Errors of an oracle that picks, in every shot, a decoder that is right if there is one."""
        return int(self.patterns[-1])

    @property
    def majority_wrong(self) -> int:
        """Shots in which more than half of the decoders are wrong."""
        sizes = np.array([pattern.bit_count() for pattern in range(len(self.patterns))])
        return int(self.patterns[2 * sizes > len(self.names)].sum())

    def agreement(self) -> np.ndarray:
        """float64 `(N, N)`: the share of shots with the same prediction."""
        return 1 - self.differing / self.shots

    def pairs(self) -> Iterator[Pair]:
        """Every two decoders."""
        from scipy.stats import binomtest

        for a, b in itertools.combinations(range(len(self.names)), 2):
            first = int(self.patterns[self._bit(a) & ~self._bit(b)].sum())
            second = int(self.patterns[self._bit(b) & ~self._bit(a)].sum())
            p_value = float(binomtest(first, first + second).pvalue) if first + second else 1.0
            ratio = rate_ratio(base_errors=second, base_shots=self.judged, errors=first, shots=self.judged)
            yield Pair(self.names[a], self.names[b], first, second, p_value, ratio)

    def _bit(self, k: int) -> np.ndarray:
        return (np.arange(len(self.patterns)) >> k) & 1 == 1


def compare(
    chunks: Iterable[Chunk],
    predictors: Mapping[str, Predict],
    *,
    on_chunk: Callable[[Comparison], None] = lambda so_far: None,
) -> Comparison:
    """Predict all chunks with all predictors, and count.

    Args:
        chunks: detections and, where known, observables.
        predictors: by name, from 2 to `MOST_DECODERS`.
        on_chunk: is given the counts so far.

    Raises:
        ShotFileError: there are no shots.
        ValueError: too few or too many predictors, or predictions of another shape.
    """
    names = tuple(predictors)
    if not 2 <= len(names) <= MOST_DECODERS:
        raise ValueError(f"{len(names)} decoders were given; compare 2 to {MOST_DECODERS} different ones")
    total: Comparison | None = None
    for detections, observed in chunks:
        predictions, seconds = [], np.zeros(len(names))
        for k, (name, predict) in enumerate(predictors.items()):
            start = time.perf_counter()
            with numbered_after(0 if total is None else total.shots):
                predictions.append(predict(detections))
            seconds[k] = time.perf_counter() - start
            expected = predictions[0].shape if observed is None else observed.shape
            if predictions[k].shape != expected:
                raise ValueError(f"{name} gives predictions of shape {predictions[k].shape}, not {expected}")
        found = Comparison.of(names, predictions, observed, seconds=seconds)
        total = found if total is None else total + found
        on_chunk(total)
    if total is None:
        raise ShotFileError("the shot file is empty; give one with at least one shot")
    return total
