"""The client's side of one stream: what was sent and not acknowledged, and what came back."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from decoder_service.client.errors import ServiceError
from decoder_service.protocol import (
    COUNT_BYTES,
    MOST_ROWS,
    CommitPayload,
    Error,
    ErrorCode,
    Flag,
    Frame,
    FrameType,
    Open,
    Opened,
    decode_commit,
    decode_credit,
    decode_message,
    decode_nack,
    encode_rows,
    packed_bytes,
)
from decoder_service.protocol.frame import new
from decoder_service.session import StreamShape

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Names for members of enums: on Python 3.11 looking one up on its class takes as long as a small function.
_ROUNDS, _FINAL, _RESULT = FrameType.ROUNDS, FrameType.FINAL, FrameType.RESULT
_ERASED = int(Flag.ERASED)
_MEANING = int(Flag.DEGRADED | Flag.FAILED | Flag.CONFLICT | Flag.RELOADED)
_FLAGS = {flags: Flag(flags) for flags in range(_MEANING + 1) if flags | _MEANING == _MEANING}
"""Of an output; made once, because making a Flag takes longer than all else that an output needs."""


class StreamOutput(NamedTuple):
    """A COMMIT or RESULT, in order, each once; `commit.gap` of a RESULT is its gap, where there is one."""

    epoch: int
    final: bool
    flags: Flag
    commit: CommitPayload


class ClientStream:
    """Positions, credits and unacknowledged frames of a stream. Its `DecoderClient` does the talking."""

    def __init__(self, number: int, options: Open) -> None:
        self.number = number
        self.options = options
        self.opened: Opened | None = None
        self.outputs: deque[StreamOutput] = deque()
        """COMMITs and RESULTs that were not taken yet."""
        self.errors: list[ServiceError] = []
        """ERRORs that were not taken yet."""
        self.received = 0
        self.closed = False
        self.reloaded = 0
        """RELOADs that took effect."""
        self.shape = StreamShape(layers=((1, 0),), final_bits=0, num_observables=0)
        self._acknowledged = 0
        self._next = 0
        self._window = 0
        self._sent: deque[tuple[int, int, Frame]] = deque()
        """Frames that are not acknowledged, with their rows, as ordinals [first, stop)."""
        self._reset: Frame | None = None
        """A RESET that the server has not answered."""

    @property
    def epoch(self) -> int:
        """The shot that the next row belongs to."""
        return self.shape.place(self._next)[0]

    @property
    def begun(self) -> bool:
        """Whether a round of that shot was sent already."""
        return self.shape.place(self._next)[1] > 0

    @property
    def credit(self) -> int:
        """Rows that may be sent now."""
        return self._acknowledged + self._window - self._next

    @property
    def left(self) -> int:
        """Rows of the shot that were not sent, the final one included."""
        return self.shape.rounds + 1 - self.shape.place(self._next)[1]

    @property
    def in_flight(self) -> int:
        """Rows sent and not acknowledged, counted in whole frames."""
        return sum(stop - first for first, stop, _ in self._sent)

    def data(self, bits: bytes, erased: bool = False) -> Frame:
        """The next row as a frame to send, ROUNDS or, if it is the final one, FINAL.

        Args:
            bits: packed LSB-first, as many as `shape.bits` says.
            erased: the row carries no information.

        Raises:
            ValueError: the row has another length.
        """
        return self.block(bits, 1, [True] if erased else None)

    def block(self, rows: Buffer, count: int, erased: Sequence[bool] | None = None) -> Frame:
        """The next `count` rows of the shot as one frame to send: FINAL if the final row is among them.

        Args:
            rows: packed LSB-first, each in whole bytes, one after the other.
            count: at most `left` and MOST_ROWS.
            erased: of each row, whether it carries no information; the final one must.

        Raises:
            ValueError: another length than these rows have, or too many of them.
        """
        epoch, sequence = self.shape.place(self._next)
        if not 1 <= count <= min(self.left, MOST_ROWS):
            raise ValueError(f"{count} rows from row {sequence} on; the shot has {self.left} left")
        if (size := self.shape.size(sequence, count)) != memoryview(rows).nbytes:
            raise ValueError(
                f"round {sequence} has {memoryview(rows).nbytes} bytes; its {self.shape.bits(sequence)} bits "
                f"need {packed_bytes(self.shape.bits(sequence))}"
                if count == 1
                else f"{count} rows from row {sequence} on have {memoryview(rows).nbytes} bytes, not {size}"
            )
        if erased is not None and len(erased) != count:
            raise ValueError(f"{len(erased)} erasure flags of {count} rows")
        kind = _FINAL if sequence + count > self.shape.rounds else _ROUNDS
        payload = encode_rows(rows, count, erased)
        frame = new(Frame, (kind, self.number, epoch, sequence, payload, 0 if erased is None else _ERASED))
        self._sent.append((self._next, self._next + count, frame))
        self._next += count
        return frame

    def fitting(self, available: int, *, limit: int) -> tuple[int, int]:
        """Rows for the next frame, at least one, and their bytes, of `available` bytes of rows.

        Args:
            limit: of a payload, in bytes.
        """
        shape = self.shape
        sequence = shape.place(self._next)[1]
        most = max(1, min(self.credit, self.left, MOST_ROWS))
        room = min(available, limit - COUNT_BYTES - packed_bytes(most))
        if (size := shape.size(sequence, most)) <= room:
            return most, size
        count = bisect.bisect_right(range(1, most + 1), room, key=lambda rows: shape.size(sequence, rows))
        return max(1, count), shape.size(sequence, max(1, count))

    def reset(self) -> Frame:
        """Abandons the shot that was begun; the next row is the first of another one."""
        begun, sequence = self.shape.place(self._next)
        first = self.shape.ordinal(begun, 0)
        while self._sent and self._sent[-1][0] >= first:
            self._sent.pop()
        epoch = begun + (sequence > 0)
        self._next = self.shape.ordinal(epoch, 0)
        self._reset = Frame(FrameType.RESET, self.number, epoch)
        return self._reset

    def handle(self, frame: Frame) -> list[Frame]:
        """Takes a frame of this stream from the server; returns what must be sent again."""
        if frame.type == FrameType.CREDIT:
            self._window = decode_credit(frame.payload).window
            self._acknowledge(self.shape.ordinal(frame.epoch, frame.sequence))
        elif frame.type == FrameType.NACK:
            first = self.shape.ordinal(frame.epoch, frame.sequence)
            stop = first + decode_nack(frame.payload).count
            return self._again(frame for start, end, frame in self._sent if start < stop and end > first)
        elif frame.type == FrameType.ERROR:
            return self._error(frame)
        elif frame.type == FrameType.OPENED:
            return self._open(decode_message(frame.payload, Opened))
        elif frame.type == FrameType.RELOAD:
            self.reloaded += 1
        elif frame.type == FrameType.RESET:
            if self._reset is not None and self._reset.epoch == frame.epoch:
                self._reset = None
        elif frame.type == FrameType.CLOSE:
            self.closed = True
        return []

    def unacknowledged(self) -> list[Frame]:
        """Everything the server may not have, oldest first."""
        return self._again(frame for _, _, frame in self._sent)

    def _open(self, opened: Opened) -> list[Frame]:
        first = self.opened is None
        self.opened = opened
        if first:
            self.shape = StreamShape(
                layers=tuple((count, bits) for count, bits in opened.layers),
                final_bits=opened.final_bits,
                num_observables=opened.num_observables,
            )
        ordinal = self.shape.ordinal(opened.epoch, opened.sequence)
        self._window = opened.window
        self._next = max(self._next, ordinal)
        self._acknowledge(ordinal)
        return self.unacknowledged()

    def take_output(self, frame: Frame) -> None:
        """Takes a COMMIT or RESULT; one that came before is passed over."""
        kind, _, epoch, sequence, payload, flags = frame
        if sequence != self.received:
            if sequence < self.received:
                return
            message = f"output {sequence} came where {self.received} was due"
            self.errors.append(ServiceError(ErrorCode.RESUME_LOST, message))
        self.received = sequence + 1
        final = kind == _RESULT
        if final:
            self._acknowledge(self.shape.ordinal(epoch + 1, 0))
        self.outputs.append(
            new(StreamOutput, (epoch, final, _FLAGS[flags & _MEANING], decode_commit(payload, flags=flags)))
        )

    def _acknowledge(self, ordinal: int) -> None:
        while self._sent and self._sent[0][1] <= ordinal:
            self._sent.popleft()
        self._acknowledged = max(self._acknowledged, ordinal)
        self._next = max(self._next, ordinal)

    def _again(self, frames: Iterable[Frame]) -> list[Frame]:
        again = [frame._replace(flags=frame.flags | Flag.RESENT) for frame in frames]
        # Before anything of the shot that it begins; a RESET that arrived already is only answered again.
        return again if self._reset is None else [self._reset, *again]

    def _error(self, frame: Frame) -> list[Frame]:
        error = decode_message(frame.payload, Error)
        if error.code in (ErrorCode.LATE, ErrorCode.STALE_EPOCH):
            return []  # the answer to a frame sent again that was not needed any more
        self.errors.append(
            ServiceError(
                error.code, error.message, scope=error.scope, epoch=frame.epoch, sequence=frame.sequence
            )
        )
        return []
