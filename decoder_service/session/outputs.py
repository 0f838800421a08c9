"""What a stream sends: COMMITs and RESULTs, numbered, and kept for a client that comes back."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from decoder_service.protocol import (
    CommitPayload,
    Flag,
    Frame,
    FrameType,
    encode_commit,
)

KEPT_OUTPUTS = 8192
"""COMMIT and RESULT frames kept for a client that comes back."""


class Outcome(NamedTuple):
    """What a decoder committed; see `CommitPayload`. `flags` are DEGRADED and RELOADED."""

    upto_round: int
    frame_bits: bytes
    model: bytes
    time_in: int
    time_out: int
    flags: int = 0
    readout: bytes = b""
    gap: float | None = None


class OutputLog:
    """Numbers outputs and keeps the last of them.

    Args:
        stream: the number in the header of the frames.
        num_observables: Pauli-frame bits of each.
        start: the number of the next.
    """

    def __init__(self, stream: int, *, num_observables: int, start: int) -> None:
        self.count = start
        """Outputs so far, and the number of the next."""
        self._stream = stream
        self._num_observables = num_observables
        self._kept: deque[Frame] = deque(maxlen=KEPT_OUTPUTS)

    def make(self, kind: FrameType, epoch: int, after: int, outcome: Outcome, flags: int) -> Frame:
        """The next output; `after` is the sequence of the row that allowed it."""
        payload = encode_commit(
            CommitPayload(
                outcome.upto_round,
                after,
                outcome.time_in,
                outcome.time_out,
                outcome.model,
                self._num_observables,
                outcome.frame_bits,
                outcome.readout,
                outcome.gap,
            )
        )
        flags |= outcome.flags | (0 if outcome.gap is None else Flag.GAP)
        frame = Frame(kind, self._stream, epoch, self.count, payload, flags)
        self.count += 1
        self._kept.append(frame)
        return frame

    def keep(self, frame: Frame) -> None:
        """Takes over an output that was made before."""
        self._kept.append(frame)
        self.count = frame.sequence + 1

    def lose(self, count: int) -> None:
        """Goes on with number `count`; those before it are not kept, for some of them are lost."""
        self._kept.clear()
        self.count = count

    def resend(self, after: int) -> list[Frame] | None:
        """The outputs from number `after` on, RESENT, or None if they are not kept, or were never made."""
        missing = self.count - after
        if not 0 <= missing <= len(self._kept):
            return None
        kept = list(self._kept)[len(self._kept) - missing :]
        return [frame._replace(flags=frame.flags | Flag.RESENT) for frame in kept]
