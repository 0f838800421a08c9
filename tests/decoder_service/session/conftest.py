"""A stream under a fake clock, with a decoder that commits the XOR and the number of the rows it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from decoder_service.protocol import (
    Error,
    ErrorCode,
    Flag,
    Frame,
    FrameType,
    decode_commit,
    decode_message,
    decode_nack,
    encode_block,
)
from decoder_service.session import OrderingConfig, Outcome, Row, Skip, StreamSession, StreamShape, Swap

SHAPE = StreamShape(layers=((1, 4), (5, 8)), final_bits=4, num_observables=8, commit=2)
DEADLINE = 1000


@dataclass
class Stream:
    """Feeds frames at a time and works off what becomes ready."""

    session: StreamSession
    now: int = 0
    sent: list[Frame] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    refuse: Callable[[Row], bool] = lambda row: False
    _parity: int = 0
    _epoch: int = -1

    def feed(self, *frames: Frame, work: bool = True) -> list[Frame]:
        """The answers to these frames, in order."""
        replies: list[Frame] = []
        for frame in frames:
            replies += self.session.receive(frame, self.now)
        replies += self.work() if work else []
        self.sent += replies
        return replies

    def wait(self, time: int) -> list[Frame]:
        """Lets time pass to the next deadlines and then to its end."""
        end, replies = self.now + time, []
        while (due := self.session.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            replies += self.session.tick(self.now) + self.work()
        self.now = end
        self.sent += replies
        return replies

    def work(self) -> list[Frame]:
        """Everything that is ready, decoded."""
        replies: list[Frame] = []
        while (item := self.session.take()) is not None:
            if isinstance(item, Skip):
                replies += self.session.skipped(item, self.now)
            elif isinstance(item, Swap):
                self.swaps.append(item)
                replies += self.session.swapped(item, bytes.fromhex(item.model[:16]))
            elif self.refuse(item):
                self.session.failed(item, "refused")
            else:
                replies += self.session.decoded(item, self._decode(item))
        return replies + self.session.credit()

    def _decode(self, row: Row) -> list[Outcome]:
        if row.epoch != self._epoch:
            assert row.sequence == 0, "a shot starts with its first round"
            self._epoch, self._parity = row.epoch, 0
        self.rows.append(row)
        for byte in row.bits:
            self._parity ^= byte
        upto = row.sequence + 1 if row.sequence < SHAPE.rounds else SHAPE.rounds
        done = upto % SHAPE.commit == 0
        return (
            [Outcome(upto, bytes([self._parity]), self.session.model_id, row.arrived, self.now)]
            if done
            else []
        )


def data(epoch: int, sequence: int, *, value: int | None = None, flags: int = 0) -> Frame:
    """A sound ROUND or FINAL; its bits tell epoch and sequence apart."""
    bits = SHAPE.bits(sequence)
    content = (epoch * 37 + sequence * 11 + 1 if value is None else value) % (1 << bits)
    kind = FrameType.FINAL if sequence == SHAPE.rounds else FrameType.ROUNDS
    return Frame(kind, 3, epoch, sequence, encode_block([bytes([content])]), flags)


def block(epoch: int, sequence: int, count: int, *, erased: tuple[int, ...] = (), value: int = 0) -> Frame:
    """Rows of a sound shot in one frame, with the rounds `erased` marked and all bits changed by `value`."""
    singles = [data(epoch, at) for at in range(sequence, sequence + count)]
    rows = [bytes([single.payload[-1] ^ value]) for single in singles]
    flags = [at in erased for at in range(sequence, sequence + count)] if erased else None
    return Frame(
        singles[-1].type, 3, epoch, sequence, encode_block(rows, flags), Flag.ERASED if erased else 0
    )


def shot(epoch: int, **options: int) -> list[Frame]:
    """All data frames of a shot."""
    return [data(epoch, sequence, **options) for sequence in range(SHAPE.rounds + 1)]


def refused(frames: list[Frame]) -> list[tuple[ErrorCode, int, int, int]]:
    """(code, epoch, sequence, rows) of the ERROR frames."""
    said = [
        (frame, decode_message(frame.payload, Error)) for frame in frames if frame.type == FrameType.ERROR
    ]
    return [(error.code, frame.epoch, frame.sequence, error.count) for frame, error in said]


def errors(frames: list[Frame]) -> list[tuple[ErrorCode, int, int]]:
    """(code, epoch, sequence) of the ERROR frames."""
    return [
        (decode_message(frame.payload, Error).code, frame.epoch, frame.sequence)
        for frame in frames
        if frame.type == FrameType.ERROR
    ]


def nacks(frames: list[Frame]) -> list[tuple[int, int, int]]:
    """(epoch, sequence, count) of the NACK frames."""
    return [
        (frame.epoch, frame.sequence, decode_nack(frame.payload).count)
        for frame in frames
        if frame.type == FrameType.NACK
    ]


def outputs(frames: list[Frame]) -> list[tuple[str, int, int, bytes, int]]:
    """(type, epoch, upto_round, frame bits, flags) of the COMMIT and RESULT frames."""
    found = []
    for frame in frames:
        if frame.type in (FrameType.COMMIT, FrameType.RESULT):
            commit = decode_commit(frame.payload)
            found.append((frame.type.name, frame.epoch, commit.upto_round, commit.frame_bits, frame.flags))
    return found


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions of this file."""

    def make(window: int = 64, on_gap: str = "erase") -> Stream:
        config = OrderingConfig(window=window, gap_deadline=DEADLINE, on_gap=on_gap)
        return Stream(StreamSession(3, SHAPE, config, model="ab" * 32, model_id=b"\xab" * 8))

    return SimpleNamespace(
        make=make,
        data=data,
        block=block,
        shot=shot,
        errors=errors,
        refused=refused,
        nacks=nacks,
        outputs=outputs,
        deadline=DEADLINE,
    )
