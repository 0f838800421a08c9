"""The client's side of one stream: what was sent and not acknowledged, and what came back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from decoder_service.client.errors import ServiceError
from decoder_service.protocol import (
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
    packed_bytes,
)
from decoder_service.protocol.frame import new
from decoder_service.session import StreamShape

# Names for members of enums: on Python 3.11 looking one up on its class takes as long as a small function.
_ROUND, _FINAL, _RESULT = FrameType.ROUND, FrameType.FINAL, FrameType.RESULT
_MEANING = int(Flag.DEGRADED | Flag.FAILED | Flag.CONFLICT | Flag.RELOADED)
_FLAGS = {flags: Flag(flags) for flags in range(_MEANING + 1) if flags | _MEANING == _MEANING}
"""Of an output; made once, because making a Flag takes longer than all else that an output needs."""


class StreamOutput(NamedTuple):
    """A COMMIT or RESULT, in order, each once."""

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
        self._unacknowledged: dict[int, Frame] = {}
        self._reset: Frame | None = None
        """A RESET that the server has not answered."""

    @property
    def epoch(self) -> int:
        """The shot that the next data frame belongs to."""
        return self.shape.place(self._next)[0]

    @property
    def begun(self) -> bool:
        """Whether a round of that shot was sent already."""
        return self.shape.place(self._next)[1] > 0

    @property
    def credit(self) -> int:
        """Data frames that may be sent now."""
        return self._acknowledged + self._window - self._next

    @property
    def in_flight(self) -> int:
        """Data frames sent and not acknowledged."""
        return len(self._unacknowledged)

    def data(self, bits: bytes, erased: bytes | None = None) -> Frame:
        """The next ROUND, or FINAL, as a frame to send.

        Args:
            bits: packed LSB-first, as many as `shape.bits` says.
            erased: mask of the same length, of bits that carry no information.

        Raises:
            ValueError: the row has another length.
        """
        ordinal, shape = self._next, self.shape
        epoch, sequence = divmod(ordinal, shape.rounds + 1)
        width = shape.bits(sequence)
        if len(bits) != (width + 7) >> 3 or (erased is not None and len(erased) != len(bits)):
            raise ValueError(
                f"round {sequence} has {len(bits)} bytes; its {width} bits need {packed_bytes(width)}"
            )
        kind = _FINAL if sequence == shape.rounds else _ROUND
        flags = 0
        if erased is not None:
            bits, flags = bits + erased, Flag.ERASED
        frame = new(Frame, (kind, self.number, epoch, sequence, bits, flags))
        self._unacknowledged[ordinal] = frame
        self._next = ordinal + 1
        return frame

    def reset(self) -> Frame:
        """Abandons the shot that was begun; the next data frame is the first of another one."""
        begun, sequence = self.shape.place(self._next)
        first = self.shape.ordinal(begun, 0)
        self._unacknowledged = {at: frame for at, frame in self._unacknowledged.items() if at < first}
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
            return self._again(at for at in sorted(self._unacknowledged) if first <= at < stop)
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
        return self._again(sorted(self._unacknowledged))

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
            new(StreamOutput, (epoch, final, _FLAGS[flags & _MEANING], decode_commit(payload)))
        )

    def _acknowledge(self, ordinal: int) -> None:
        for done in range(self._acknowledged, min(ordinal, self._next)) if self._unacknowledged else ():
            self._unacknowledged.pop(done, None)
        self._acknowledged = max(self._acknowledged, ordinal)
        self._next = max(self._next, ordinal)

    def _again(self, ordinals: Iterable[int]) -> list[Frame]:
        frames = [self._unacknowledged[ordinal] for ordinal in ordinals]
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
