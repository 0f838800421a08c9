"""When every round is due, and the blocks in which rounds are sent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Blocks", "LoadPlan"]


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """An open-loop load: every stream sends `shots` shots, a row every `period_ns`.

    Row n of a stream is due when its round has been measured, at (n + 1) periods. A block of rows is sent
    when its last row is due; an output is as late as it comes after the row that allows it was due, so that
    waiting for a block to fill counts too. Streams are staggered evenly over a block.

    Attributes:
        period_ns: from one row of a stream to its next.
        rows_per_shot: rounds of a shot, the final one included.
        shots: of each stream.
        rounds_per_block: at most; no block has rows of two shots.
        streams: how many.
    """

    period_ns: float
    rows_per_shot: int
    shots: int
    rounds_per_block: int = 1
    streams: int = 1

    def __post_init__(self) -> None:
        if not (np.isfinite(self.period_ns) and self.period_ns > 0):
            raise ValueError(f"the period is {self.period_ns:g} ns; it must be above 0")
        if self.rows_per_shot < 2:
            raise ValueError(f"a shot of {self.rows_per_shot} rows has no round before its final one")
        for name in ("shots", "rounds_per_block", "streams"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def rows(self) -> int:
        """Rows of each stream."""
        return self.rows_per_shot * self.shots

    def due(self, stream: np.ndarray | int, row: np.ndarray | int) -> np.ndarray:
        """int64 ns from the start at which rows of streams are due."""
        staggered = np.multiply(stream, self.period_ns * self.rounds_per_block / self.streams)
        return np.rint(np.add(row, 1) * self.period_ns + staggered).astype(np.int64)

    def rows_due(self, time_ns: np.ndarray) -> np.ndarray:
        """int64: how many rows, of all streams, were due at times from the start."""
        total = np.zeros(np.shape(time_ns), dtype=np.int64)
        for stream in range(self.streams):
            since = np.asarray(time_ns) - float(self.due(stream, -1))
            total += np.clip(np.floor(since / self.period_ns), 0, self.rows).astype(np.int64)
        return total

    @cached_property
    def blocks(self) -> Blocks:
        """All blocks of all streams, by the time at which they are due."""
        first = np.arange(0, self.rows_per_shot, self.rounds_per_block)
        count = np.diff(np.append(first, self.rows_per_shot))
        epoch = np.repeat(np.arange(self.shots), len(first))
        first, count = np.tile(first, self.shots), np.tile(count, self.shots)
        stream = np.repeat(np.arange(self.streams), len(epoch))
        epoch, first, count = (np.tile(column, self.streams) for column in (epoch, first, count))
        due = self.due(stream, epoch * self.rows_per_shot + first + count - 1)
        order = np.argsort(due, kind="stable")
        return Blocks(*(column[order] for column in (due, stream, epoch, first, count)))


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks in the order in which they are due; int64 arrays of one length.

    Attributes:
        due: ns from the start.
        stream: number of the stream, from 0.
        epoch: shot of the stream.
        first, count: its rows.
    """

    due: np.ndarray
    stream: np.ndarray
    epoch: np.ndarray
    first: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.due)
