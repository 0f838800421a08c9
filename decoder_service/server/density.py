"""How often each stabilizer fires, lately and at first: where a drift of the noise shows first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from decoder_service.protocol import packed_bytes

EVERY = 11
"""One row in this many is counted, so that the hot path hardly sees it."""
MEMORY = 0.9
"""What is left of the counts from one `take` to the next: about ten intervals are seen."""
BASELINE_ROUNDS = 1000
"""Counted rounds after which the densities so far become what later ones are compared with."""
SHOWN = 1024
"""Stabilizers that are reported one by one, at most."""


class Density(NamedTuple):
    """Shares of rounds in which stabilizers fired.

    Attributes:
        each: uint16 little-endian per stabilizer, in units of 1/65535; empty before any round.
        mean: of all stabilizers, lately.
        baseline: the same of the beginning of the stream; 0 while that is still being counted.
        drift: (mean - baseline) in standard errors; 0 without a baseline.
    """

    each: bytes = b""
    mean: float = 0.0
    baseline: float = 0.0
    drift: float = 0.0


class DensityMeter:
    """Counts the ones of rows of one width.

    Args:
        bits: of a row.
        differences: rows are measurements: two rounds together say what a stabilizer saw.
    """

    def __init__(self, bits: int, *, differences: bool) -> None:
        self._bits = bits
        self._bytes = packed_bytes(bits)
        self._differences = differences
        self._ones = np.zeros(bits)
        self._rounds = 0.0
        self._first: tuple[float, float] | None = None
        self._first_ones = 0.0
        self._first_rounds = 0
        self._before: tuple[int, bytes] | None = None
        """The last round and its bits, if it was not erased."""
        self._seen = 0

    def count(self, sequence: int, row: bytes, *, erased: bool) -> None:
        """Takes every round of the stream, in order; the first of a shot is round 0."""
        before, self._before = self._before, None if erased else (sequence, row)
        self._seen = (self._seen + 1) % EVERY
        if not self._seen and not erased:
            self._add(sequence, row, before)

    def sample(self, rows: Sequence[tuple[int, bytes, bool]]) -> None:
        """Takes (sequence, row, erased) of rounds in order, of a stream that they do not all come from."""
        before: tuple[int, bytes] | None = None
        for sequence, row, erased in rows:
            if not erased:
                self._add(sequence, row, before)
            before = None if erased else (sequence, row)

    def _add(self, sequence: int, row: bytes, before: tuple[int, bytes] | None) -> None:
        if len(row) != self._bytes or not self._bits:
            return
        bits = np.frombuffer(row, np.uint8)
        if self._differences:
            if before is None or before[0] + 1 != sequence or len(before[1]) != len(row):
                return
            bits = bits ^ np.frombuffer(before[1], np.uint8)
        ones = np.unpackbits(bits, count=self._bits, bitorder="little")
        self._ones += ones
        self._rounds += 1
        if self._first is None:
            self._first_ones += float(ones.sum())
            self._first_rounds += 1
            if self._first_rounds >= BASELINE_ROUNDS:
                mean = self._first_ones / (self._first_rounds * self._bits)
                self._first = (mean, self._variance(mean, self._first_rounds))

    def take(self) -> Density:
        """The densities of late; what was counted before fades."""
        if not self._rounds:
            return Density()
        each = self._ones / self._rounds
        mean = float(each.mean())
        density = Density((each[:SHOWN] * 65535).astype("<u2").tobytes(), mean)
        if self._first is not None:
            baseline, variance = self._first
            error = np.sqrt(variance + self._variance(mean, self._rounds)) or 1.0
            density = density._replace(baseline=baseline, drift=float((mean - baseline) / error))
        self._ones *= MEMORY
        self._rounds *= MEMORY
        return density

    def _variance(self, mean: float, rounds: float) -> float:
        """Of a mean density. Events come in pairs, hence the 2."""
        return 2 * mean * (1 - mean) / (rounds * self._bits)
