"""What the ordering of a stream takes and gives: results for rows, rows in order, gaps; its settings."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

from decoder_service.protocol import Flag, packed_bytes
from decoder_service.session.shape import StreamShape

_ERASED = int(Flag.ERASED)
_LOST = int(Flag.ERASED | Flag.DEGRADED | Flag.SYNTHETIC)


class AcceptResult(enum.Enum):
    """What became of a row, or, the last two, of a frame as a whole."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    STALE = "stale"
    LATE = "late"
    OVERLOAD = "overload"
    BAD_PAYLOAD = "bad-payload"
    BAD_SEQUENCE = "bad-sequence"


class Judged(NamedTuple):
    """A run of rows of one frame with the same result: `count` rows from `sequence` on."""

    result: AcceptResult
    sequence: int
    count: int


class Row(NamedTuple):
    """One accepted row, in order. `bits` are packed LSB-first, zero where erased; `arrived` is in ns."""

    epoch: int
    sequence: int
    bits: bytes
    flags: int
    arrived: int

    @property
    def erased(self) -> bool:
        """Whether the row carries no information."""
        return bool(self.flags & _ERASED)


class Skip(NamedTuple):
    """Shots `epoch` up to, not including, `next_epoch` are abandoned."""

    epoch: int
    next_epoch: int
    reason: str
    asked: bool
    """By RESET, so that no RESULT is due."""


class Gap(NamedTuple):
    """Missing ordinals [first, stop)."""

    first: int
    stop: int


@dataclasses.dataclass(frozen=True)
class OrderingConfig:
    """Window and deadlines of a stream.

    Args:
        window: rows in flight.
        gap_deadline: nanoseconds from the discovery of a gap to its erasure.
        on_gap: 'erase' decodes lost rounds as erased; 'fail' abandons the shot.
    """

    window: int = 256
    gap_deadline: int = 50_000_000
    on_gap: str = "erase"

    def __post_init__(self) -> None:
        if self.window < 1 or self.gap_deadline < 1:
            raise ValueError(f"{self.window=} and {self.gap_deadline=} must be at least 1")
        if self.on_gap not in ("erase", "fail"):
            raise ValueError(f"on_gap is {self.on_gap!r}; it is 'erase' or 'fail'")


def erased_round(shape: StreamShape, epoch: int, sequence: int, now: int) -> Row:
    """The row that stands for a lost round."""
    return Row(epoch, sequence, bytes(packed_bytes(shape.bits(sequence))), _LOST, now)
