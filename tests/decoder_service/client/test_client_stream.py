"""Blocks on the client's side: how rows are cut, kept until they are acknowledged, and sent again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder_service.client import ClientStream
from decoder_service.protocol import (
    CreditPayload,
    Flag,
    Frame,
    FrameType,
    NackPayload,
    Open,
    Opened,
    block_rows,
    encode_credit,
    encode_message,
    encode_nack,
    packed_bytes,
    split_block,
)

LAYERS = [(1, 4), (5, 12)]
ROUNDS = 6
SHOT = b"".join(bytes([at + 1] * packed_bytes(bits)) for at, bits in enumerate([4, *[12] * 5, 4]))
"""A shot's packed rows, one after the other; row `at` is made of bytes `at + 1`."""


def stream(window: int = 100) -> ClientStream:
    opened = Opened("0" * 64, "00" * 8, ROUNDS, [*LAYERS], 4, 1, window, 0, 0, 0, 1000)
    made = ClientStream(3, Open(model="0" * 64))
    made.handle(Frame(FrameType.OPENED, 3, payload=encode_message(opened)))
    return made


def credit(epoch: int, sequence: int, window: int = 100) -> Frame:
    return Frame(FrameType.CREDIT, 3, epoch, sequence, encode_credit(CreditPayload(window, 0)))


def rows_of(frame: Frame) -> list[tuple[int, int]]:
    """(sequence, first byte) of a frame's rows."""
    count = block_rows(frame.payload)
    widths = [[4, *[12] * 5, 4][at] for at in range(frame.sequence, frame.sequence + count)]
    rows = split_block(frame.payload, widths=widths, flags=0)
    return [(frame.sequence + at, bits[0]) for at, (bits, _) in enumerate(rows)]


@given(st.integers(1, 12), st.integers(16, 60), st.integers(1, 3))
def test_rows_are_cut_by_credit_limit_and_shot_and_are_all_there(window: int, limit: int, shots: int) -> None:
    sender = stream(window)
    data, at, sent = SHOT * shots, 0, []
    while at < len(data):
        if sender.credit == 0:
            sender.handle(credit(*sender.shape.place(sender._next), window=window))
        count, size = sender.fitting(len(data) - at, limit=limit)
        frame = sender.block(data[at : at + size], count)
        assert len(frame.payload) <= limit
        assert count <= window
        assert (frame.type == FrameType.FINAL) == (frame.sequence + count == ROUNDS + 1)
        sent += [(frame.epoch, *row) for row in rows_of(frame)]
        at += size
    assert sent == [(epoch, row, row + 1) for epoch in range(shots) for row in range(ROUNDS + 1)]


def test_frames_are_kept_until_all_of_their_rows_are_acknowledged() -> None:
    sender = stream()
    frames = [sender.block(SHOT[:5], 3), sender.block(SHOT[5:9], 2), sender.block(SHOT[9:], 2)]
    assert sender.in_flight == 7
    sender.handle(credit(0, 4))
    assert sender.in_flight == 4
    assert [f.sequence for f in sender.unacknowledged()] == [3, 5]
    sender.handle(credit(1, 0))
    assert (sender.in_flight, sender.unacknowledged()) == (0, [])
    assert [f.type.name for f in frames] == ["ROUNDS", "ROUNDS", "FINAL"]


def test_a_nack_brings_every_frame_that_has_one_of_its_rows() -> None:
    sender = stream()
    for start, stop, count in ((0, 5, 3), (5, 9, 2), (9, 12, 2)):
        sender.block(SHOT[start:stop], count)
    again = sender.handle(Frame(FrameType.NACK, 3, 0, 2, encode_nack(NackPayload(2, 1))))
    assert [(f.sequence, Flag(f.flags)) for f in again] == [(0, Flag.RESENT), (3, Flag.RESENT)]
    assert sender.handle(Frame(FrameType.NACK, 3, 1, 0, encode_nack(NackPayload(2, 1)))) == []


def test_erased_rows_are_flagged_one_by_one() -> None:
    frame = stream().block(SHOT[:5], 3, [False, True, False])
    assert Flag(frame.flags) is Flag.ERASED
    rows = split_block(frame.payload, widths=[4, 12, 12], flags=frame.flags)
    assert [erased for _, erased in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("rows", "count", "erased", "message"),
    [
        (SHOT[:5], 0, None, "0 rows from row 0 on"),
        (SHOT, 8, None, "8 rows from row 0 on; the shot has 7 left"),
        (SHOT[:4], 3, None, "have 4 bytes, not 5"),
        (SHOT[:2], 1, None, "round 0 has 2 bytes; its 4 bits need 1"),
        (SHOT[:5], 3, [True], "1 erasure flags of 3 rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_sent(rows, count, erased, message) -> None:
    sender = stream()
    with pytest.raises(ValueError, match=message):
        sender.block(rows, count, erased)
    assert sender.in_flight == 0
