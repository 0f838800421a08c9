"""Blocks of rounds: each row of a frame counts as if it had come alone, however frames overlap."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder_service.protocol import ErrorCode, FaultKind, Flag, FrameType, WireFault, encode_block
from decoder_service.session import StreamShape

SHAPE = StreamShape(layers=((1, 4), (5, 8)), final_bits=4, num_observables=8)


@pytest.mark.parametrize("cuts", [(7,), (1, 6), (3, 3, 1), (6, 1), (2, 2, 2, 1)], ids=str)
def test_a_shot_in_blocks_is_the_shot_row_by_row(kit, cuts: tuple[int, ...]) -> None:
    expected = kit.make()
    expected.feed(*kit.shot(0), *kit.shot(1))
    stream = kit.make()
    for epoch in (0, 1):
        at = 0
        for count in cuts:
            stream.feed(kit.block(epoch, at, count))
            at += count
    assert kit.outputs(stream.sent) == kit.outputs(expected.sent)
    assert stream.rows == expected.rows


def test_a_block_that_overlaps_what_is_there_brings_what_is_new(kit) -> None:
    stream = kit.make()
    stream.feed(kit.block(0, 0, 3))
    stream.feed(kit.block(0, 4, 1))
    assert kit.errors(stream.feed(kit.block(0, 1, 6))) == []
    assert stream.session.stats.duplicates == 3
    assert kit.outputs(stream.sent) == kit.outputs(kit.make().feed(*kit.shot(0)))


def test_runs_of_rows_with_the_same_answer_get_one_error(kit) -> None:
    """Rows 0 and 1 conflict, 2 is new, 3 conflicts, 4 and 5 are new."""
    stream = kit.make()
    stream.feed(kit.block(0, 0, 2), kit.block(0, 3, 1))
    replies = stream.feed(kit.block(0, 0, 6, value=1))
    assert kit.refused(replies) == [(ErrorCode.CONFLICT, 0, 0, 2), (ErrorCode.CONFLICT, 0, 3, 1)]
    assert stream.session.stats.conflicts == 3
    assert [row.sequence for row in stream.rows] == list(range(6))


def test_rows_past_the_window_are_refused_and_those_before_it_are_not(kit) -> None:
    stream = kit.make(window=4)
    replies = stream.feed(kit.block(0, 0, 6), work=False)
    assert kit.refused(replies) == [(ErrorCode.OVERLOAD, 0, 4, 2)]
    assert stream.session.ordering.in_flight == 4
    stream.work()
    assert kit.errors(stream.feed(kit.block(0, 4, 3))) == []
    assert stream.session.stats.shots == 1


def test_a_block_that_does_not_fit_is_refused_whole(kit) -> None:
    stream = kit.make()
    sound = kit.block(0, 0, 6)
    for bad in (sound._replace(payload=sound.payload[:-1]), sound._replace(sequence=1)):
        assert kit.refused(stream.feed(bad))[0][3] == 1
        assert stream.session.ordering.in_flight == 0
    assert kit.errors(stream.feed(sound)) == []


def test_an_erased_row_has_no_bits_and_its_bits_do_not_count_in_comparisons(kit) -> None:
    stream = kit.make()
    stream.feed(kit.block(0, 0, 4, erased=(1, 2)))
    assert [(row.bits, row.erased) for row in stream.rows[1:3]] == [(b"\0", True)] * 2
    assert not stream.rows[0].erased
    again = kit.block(0, 1, 1, erased=(1,), value=3)
    assert kit.errors(stream.feed(again)) == []
    assert kit.errors(stream.feed(kit.block(0, 1, 1))) == [(ErrorCode.CONFLICT, 0, 1)]
    assert stream.session.stats.erased == 2


def test_all_rows_of_a_damaged_block_are_asked_for(kit) -> None:
    stream = kit.make()
    stream.feed(kit.block(0, 0, 1))
    payload = kit.block(0, 1, 4).payload
    fault = WireFault(FaultKind.BAD_CRC, "ROUNDS payload", FrameType.ROUNDS, 3, 0, 1, len(payload))
    assert kit.nacks(stream.session.fault(fault, stream.now)) == [(0, 1, 4)]


@given(st.integers(0, 6), st.data())
def test_a_payload_s_length_tells_its_rows(sequence: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7 - sequence))
    rows = [bytes((bits + 7) // 8) for bits in SHAPE.widths(sequence, count)]
    assert SHAPE.rows_in(sequence, len(encode_block(rows)), masked=False) == count
    assert SHAPE.rows_in(sequence, len(encode_block(rows, [True] * count)), masked=True) == count
    assert SHAPE.size(sequence, count) == sum(map(len, rows))


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_any_overlapping_blocks_give_what_single_rows_give(kit, seed: int) -> None:
    rng = random.Random(seed)
    shots = 4
    starts = [(epoch, at) for epoch in range(shots) for at in range(7)]
    blocks = [kit.block(epoch, at, rng.randint(1, 7 - at)) for epoch, at in starts]
    line = [
        (at + rng.uniform(0, 12), block)
        for at, block in enumerate(blocks)
        for _ in range(rng.choice([1, 1, 2]))
    ]
    stream = kit.make()
    for _, block in sorted(line, key=lambda entry: entry[0]):
        stream.feed(block)
    plain = kit.make()
    plain.feed(*(frame for epoch in range(shots) for frame in kit.shot(epoch)))
    assert kit.outputs(stream.sent) == kit.outputs(plain.sent)
    assert kit.errors(stream.sent) == []
    assert all(not out[4] & Flag.CONFLICT for out in kit.outputs(stream.sent))
