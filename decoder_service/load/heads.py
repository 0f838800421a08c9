"""What the timed loop has to know of the frames that come: how far credit goes, and how many outputs."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

import numpy as np

from decoder_service.client import ClientStream, ServiceError
from decoder_service.load.plan import LoadPlan
from decoder_service.protocol import (
    HEADER_BYTES,
    Error,
    FrameType,
    decode_credit,
    decode_message,
)
from decoder_service.protocol.frame import HEADER

__all__ = ["FrameHeads"]

_COMMIT, _RESULT = int(FrameType.COMMIT), int(FrameType.RESULT)
_CREDIT, _ERROR = int(FrameType.CREDIT), int(FrameType.ERROR)


class FrameHeads:
    """Reads the headers of a service's frames.

    Args:
        credit: rows that each stream, by its number, may send at the start.
        plan: what is sent.
        streams: to which.
    """

    def __init__(self, credit: Mapping[int, int], plan: LoadPlan, streams: Sequence[ClientStream]) -> None:
        self.outputs = 0
        """COMMITs and RESULTs so far."""
        self.allowed = 0
        """Blocks, of all streams in their order, that may be sent."""
        self._rest = b""
        self._shape = {stream.number: stream.shape for stream in streams}
        self._window = dict(credit)
        self._sent_before = {stream.number: stream.shape.ordinal(stream.epoch, 0) for stream in streams}
        blocks = plan.blocks
        stop_row = blocks.epoch * plan.rows_per_shot + blocks.first + blocks.count
        self._at: dict[int, list[int]] = {}
        """Of each stream, the places of its blocks among all, then the number of all."""
        self._stop: dict[int, list[int]] = {}
        """Of each of them, the rows of the stream up to its end."""
        self._limit: dict[int, int] = {}
        """Of each stream, the place of its first block without credit."""
        for place, stream in enumerate(streams):
            own = np.flatnonzero(blocks.stream == place)
            self._at[stream.number] = [*own.tolist(), len(blocks)]
            self._stop[stream.number] = stop_row[own].tolist()
            self._limit[stream.number] = 0
        for number in self._limit:
            self._grant(number, self._sent_before[number])

    @property
    def pending(self) -> bool:
        """Whether a frame has come in part."""
        return bool(self._rest)

    def feed(self, data: bytes) -> None:
        """Take what was received.

        Raises:
            ServiceError: the service says that it refused something.
        """
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while end - at >= HEADER_BYTES:
            _, _, kind, stream, epoch, length, sequence, *_ = HEADER.unpack_from(buffer, at)
            stop = at + HEADER_BYTES + length
            if stop > end:
                break
            if kind == _COMMIT:
                self.outputs += 1
            elif kind == _RESULT:
                self.outputs += 1
                self._grant(stream, self._shape[stream].ordinal(epoch + 1, 0))
            elif kind == _CREDIT:
                self._window[stream] = decode_credit(buffer[at + HEADER_BYTES : stop]).window
                self._grant(stream, self._shape[stream].ordinal(epoch, sequence))
            elif kind == _ERROR:
                error = decode_message(buffer[at + HEADER_BYTES : stop], Error)
                raise ServiceError(error.code, error.message, scope=error.scope)
            at = stop
        self._rest = buffer[at:]

    def _grant(self, number: int, acknowledged: int) -> None:
        """Rows of a stream before `acknowledged` need no credit any more."""
        rows = acknowledged + self._window[number] - self._sent_before[number]
        place = self._at[number][bisect.bisect_right(self._stop[number], rows)]
        if place > self._limit[number]:
            self._limit[number] = place
            self.allowed = min(self._limit.values())
