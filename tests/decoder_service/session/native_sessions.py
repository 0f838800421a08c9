"""Native sessions of small streams, and frames for them, which their tests share."""

from __future__ import annotations

from typing import Any

import _qecpipe
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Limits,
    encode_block,
    encode_frame,
)
from decoder_service.session import StreamShape

SHAPE = StreamShape(layers=((1, 4), (5, 8)), final_bits=4, num_observables=8, commit=2)
WIDE: dict[str, Any] = {"layers": list(SHAPE.layers), "final_bits": 4, "num_observables": 8}
MODEL = b"\xab" * 8
OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


def parity(**options: Any) -> _qecpipe.ParityDecoder:
    return _qecpipe.ParityDecoder(**WIDE, commit=2, model=MODEL, **options)


def opened(session: _qecpipe.Session, decoder: _qecpipe.RowDecoder, stream: int = 0, **options: Any) -> None:
    given: dict[str, Any] = {"window": 64, "gap_deadline_ns": 10**9} | options
    session.open(stream, decoder, **WIDE, commit=2, **given)
    session.announce(stream)


def block(epoch: int, sequence: int, count: int, *, erased: tuple[int, ...] = ()) -> bytes:
    rows = [bytes([(epoch * 3 + at * 5 + 1) % 16]) for at in range(sequence, sequence + count)]
    flags = [at in erased for at in range(sequence, sequence + count)] if erased else None
    kind = FrameType.FINAL if sequence + count > SHAPE.rounds else FrameType.ROUNDS
    payload = encode_block(rows, flags)
    return encode_frame(Frame(kind, 0, epoch, sequence, payload, Flag.ERASED if erased else 0))


def work(session: _qecpipe.Session) -> None:
    while session.work():
        pass


def frames(data: bytes) -> list[Frame]:
    parser = FrameParser(limits=Limits(garbage_bytes=1 << 40))
    items = parser.feed(data)
    assert all(isinstance(item, Frame) for item in items)
    assert parser.buffered == 0
    return [item for item in items if isinstance(item, Frame)]
