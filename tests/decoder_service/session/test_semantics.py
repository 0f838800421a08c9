"""Every rule of the Semantics section of docs/protocol.md, under a fake clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder_service.protocol import (
    ErrorCode,
    FaultKind,
    Flag,
    Frame,
    FrameType,
    Reload,
    Reloaded,
    Stats,
    WireFault,
    decode_commit,
    decode_credit,
    decode_message,
)
from decoder_service.session import KEPT_OUTPUTS

NEW = "cd" * 32


def test_shots_in_order_commit_and_end_in_a_result(kit) -> None:
    stream = kit.make()
    frames = stream.feed(*kit.shot(0), *kit.shot(1))
    assert [(kind, epoch, upto) for kind, epoch, upto, _, _ in kit.outputs(frames)] == [
        (kind, epoch, upto)
        for epoch in (0, 1)
        for kind, upto in (("COMMIT", 2), ("COMMIT", 4), ("COMMIT", 6), ("RESULT", 6))
    ]
    numbered = [frame.sequence for frame in frames if frame.type in (FrameType.COMMIT, FrameType.RESULT)]
    assert numbered == list(range(8))
    assert kit.errors(frames) == kit.nacks(frames) == []


def test_identical_duplicates_are_ignored_wherever_the_original_is(kit) -> None:
    plain, stream = kit.make(), kit.make()
    expected = kit.outputs(plain.feed(*kit.shot(0), *kit.shot(1)))
    held = kit.data(0, 2)
    replies = stream.feed(kit.data(0, 0), kit.data(0, 0), held, held._replace(flags=Flag.RESENT))
    replies += stream.feed(*kit.shot(0), *kit.shot(0), *kit.shot(1), *kit.shot(0))
    assert kit.outputs(replies) == expected
    assert kit.errors(replies) == []
    assert stream.session.stats.duplicates == 2 + 2 + 7 + 7  # 0.0, 0.2 twice over, a shot, a shot


@pytest.mark.parametrize("where", ["held", "ready", "decoded"])
def test_a_different_duplicate_is_an_error_and_the_first_is_used(kit, where: str) -> None:
    stream = kit.make()
    sequence = 1 if where == "held" else 0
    stream.feed(kit.data(0, sequence), work=where == "decoded")
    other = kit.data(0, sequence, value=255)
    assert kit.errors(stream.feed(other, work=False)) == [(ErrorCode.CONFLICT, 0, sequence)]
    frames = stream.feed(*kit.shot(0), *kit.shot(1))
    bits = [out[3] for out in kit.outputs(frames)]
    assert bits == [out[3] for out in kit.outputs(kit.make().feed(*kit.shot(0), *kit.shot(1)))]
    assert {epoch: flags for _, epoch, _, _, flags in kit.outputs(frames)} == {0: Flag.CONFLICT, 1: 0}


def test_a_round_past_a_shot_is_not_the_next_shots_first(kit) -> None:
    """Its place in the stream, epoch times frames a shot plus sequence, is the one that is expected next."""
    stream = kit.make()
    stream.feed(*kit.shot(0))
    beyond = kit.data(0, 0)._replace(sequence=len(kit.shot(0)))
    assert kit.errors(stream.feed(beyond)) == [(ErrorCode.BAD_SEQUENCE, 0, len(kit.shot(0)))]
    assert (
        kit.outputs(stream.feed(*kit.shot(1))) == kit.outputs(kit.make().feed(*kit.shot(0), *kit.shot(1)))[4:]
    )


def test_reordered_frames_give_the_same_commits(kit) -> None:
    expected = kit.outputs(kit.make().feed(*kit.shot(0), *kit.shot(1), *kit.shot(2)))
    for seed in range(20):
        frames = [*kit.shot(0), *kit.shot(1), *kit.shot(2)]
        random.Random(seed).shuffle(frames)
        stream = kit.make()
        got = [reply for frame in frames for reply in stream.feed(frame)]
        assert kit.outputs(got) == expected
        assert kit.errors(got) == []


def test_a_gap_is_nacked_at_once_again_and_filled_in_time(kit) -> None:
    stream = kit.make()
    stream.feed(kit.data(0, 0))
    assert kit.nacks(stream.feed(kit.data(0, 3))) == [(0, 1, 2)]
    assert kit.nacks(stream.wait(kit.deadline - 1)) == [(0, 1, 2)] * 3
    replies = stream.feed(kit.data(0, 1), kit.data(0, 2), *kit.shot(0)[4:])
    assert {out[4] for out in kit.outputs(replies)} == {0}
    assert stream.session.next_deadline() is None


def test_a_gap_past_its_deadline_is_erased_and_says_so(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0)[:2], *kit.shot(0)[4:])
    replies = stream.wait(kit.deadline)
    assert [(kind, upto, flags) for kind, _, upto, _, flags in kit.outputs(replies)] == [
        ("COMMIT", 4, Flag.DEGRADED),
        ("COMMIT", 6, Flag.DEGRADED),
        ("RESULT", 6, Flag.DEGRADED),
    ]
    erased = [row for row in stream.rows if row.sequence in (2, 3)]
    assert [(row.bits, row.erased) for row in erased] == [(b"\0", True)] * 2
    assert {row.erased for row in stream.rows if row not in erased} == {False}
    assert kit.errors(stream.feed(kit.data(0, 2))) == [(ErrorCode.LATE, 0, 2)]
    assert {out[4] for out in kit.outputs(stream.feed(*kit.shot(1)))} == {0}


def test_a_gap_past_its_deadline_fails_the_shot_by_policy(kit) -> None:
    stream = kit.make(on_gap="fail")
    stream.feed(*kit.shot(0)[:3], *kit.shot(0)[4:], *kit.shot(1))
    replies = stream.wait(kit.deadline)
    assert kit.errors(replies) == [(ErrorCode.SHOT_FAILED, 0, 0)]
    failed, *others = kit.outputs(replies)
    assert failed == ("RESULT", 0, 0, b"\0", Flag.FAILED)
    assert others == kit.outputs(_second_shot(kit))


@pytest.mark.parametrize("on_gap", ["erase", "fail"])
def test_a_lost_final_fails_its_shot_and_only_it(kit, on_gap: str) -> None:
    """The FINAL carries the logical measurement; no erasure can stand for it."""
    stream = kit.make(on_gap=on_gap)
    frames = stream.feed(*kit.shot(0)[:-1], *kit.shot(1))
    assert kit.nacks(frames) == [(0, 6, 1)]
    replies = stream.wait(kit.deadline)
    assert kit.errors(replies) == [(ErrorCode.SHOT_FAILED, 0, 0)]
    assert kit.outputs(replies) == [("RESULT", 0, 0, b"\0", Flag.FAILED), *kit.outputs(_second_shot(kit))]


def test_a_gap_over_two_shots_fails_one_and_erases_in_the_other(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0)[:4], *kit.shot(1)[2:])
    assert [(out[0], out[1], out[4]) for out in kit.outputs(stream.wait(kit.deadline))] == [
        ("RESULT", 0, Flag.FAILED),
        ("COMMIT", 1, Flag.DEGRADED),
        ("COMMIT", 1, Flag.DEGRADED),
        ("COMMIT", 1, Flag.DEGRADED),
        ("RESULT", 1, Flag.DEGRADED),
    ]


def test_a_damaged_frame_is_asked_for_without_a_later_one(kit) -> None:
    stream = kit.make()
    stream.feed(kit.data(0, 0))
    fault = WireFault(FaultKind.BAD_CRC, "ROUNDS payload", FrameType.ROUNDS, 3, 0, 1, 3)
    assert kit.nacks(stream.session.fault(fault, stream.now)) == [(0, 1, 1)]
    assert kit.errors(stream.feed(*kit.shot(0)[1:])) == []
    assert stream.session.next_deadline() is None


def test_bits_after_final_never_reach_the_next_shot(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0))
    replies = stream.feed(
        kit.data(0, 2, value=99), kit.data(0, 6)._replace(type=FrameType.ROUNDS), kit.data(0, 6, value=5)
    )
    codes = [ErrorCode.CONFLICT, ErrorCode.BAD_SEQUENCE, ErrorCode.CONFLICT]
    assert [code for code, _, _ in kit.errors(replies)] == codes
    assert kit.outputs(stream.feed(*kit.shot(1))) == kit.outputs(_second_shot(kit))
    rounds = [(row.epoch, row.sequence) for row in stream.rows]
    assert rounds == [(epoch, sequence) for epoch in (0, 1) for sequence in range(7)]


def test_a_stale_epoch_is_refused(kit) -> None:
    stream = kit.make(window=2)
    for epoch in range(4):
        for frame in kit.shot(epoch):
            stream.feed(frame)
    assert kit.errors(stream.feed(kit.data(0, 1))) == [(ErrorCode.STALE_EPOCH, 0, 1)]
    stream.feed(Frame(FrameType.RESET, 3, 9))
    assert kit.errors(stream.feed(kit.data(3, 1))) == [(ErrorCode.STALE_EPOCH, 3, 1)]
    assert kit.errors(stream.feed(Frame(FrameType.RESET, 3, 2))) == [(ErrorCode.STALE_EPOCH, 2, 0)]


def test_credits_bound_what_is_in_flight_and_overload_is_an_answer(kit) -> None:
    stream = kit.make(window=8)
    frames = [*kit.shot(0), *kit.shot(1)]
    replies = stream.feed(*frames, work=False)
    refused = [(ErrorCode.OVERLOAD, frame.epoch, frame.sequence) for frame in frames[8:]]
    assert kit.errors(replies) == refused
    assert stream.session.ordering.in_flight == 8
    results = kit.outputs(stream.work())
    credit = stream.session.credit(force=True)[0]
    assert (credit.epoch, credit.sequence, decode_credit(credit.payload).window) == (1, 1, 8)
    results += kit.outputs(stream.feed(*frames[8:]))
    assert results == kit.outputs(kit.make().feed(*frames))


def test_held_frames_count_too(kit) -> None:
    stream = kit.make(window=4)
    replies = stream.feed(*kit.shot(0)[1:])
    assert [code for code, _, _ in kit.errors(replies)] == [ErrorCode.OVERLOAD] * 3
    assert stream.session.ordering.in_flight == 3


def test_credit_comes_after_a_quarter_of_the_window(kit) -> None:
    stream = kit.make(window=8)
    credits = [[f for f in stream.feed(frame) if f.type == FrameType.CREDIT] for frame in kit.shot(0)]
    assert [len(sent) for sent in credits] == [0, 1, 0, 1, 0, 1, 0]
    assert stream.session.owes_credit


def test_reset_gives_up_the_shot_and_keeps_finished_ones(kit) -> None:
    stream = kit.make()
    replies = stream.feed(*kit.shot(0), *kit.shot(1)[:4], work=False)
    replies += stream.feed(Frame(FrameType.RESET, 3, 5))
    assert kit.outputs(replies) == kit.outputs(kit.make().feed(*kit.shot(0)))
    assert [frame.epoch for frame in replies if frame.type == FrameType.RESET] == [5]
    again = stream.feed(Frame(FrameType.RESET, 3, 5))
    assert [frame.type for frame in again if frame.type != FrameType.CREDIT] == [FrameType.RESET]
    assert [(out[0], out[1]) for out in kit.outputs(stream.feed(*kit.shot(5)))][-1] == ("RESULT", 5)


def test_reset_in_the_middle_of_a_gap_ends_it(kit) -> None:
    stream = kit.make(on_gap="fail")
    stream.feed(kit.data(0, 0), kit.data(0, 4), kit.data(1, 1))
    stream.feed(Frame(FrameType.RESET, 3, 1))
    assert stream.session.ordering.gaps() == [(7, 8)]
    replies = stream.feed(*kit.shot(1))
    assert kit.outputs(replies) == kit.outputs(_second_shot(kit))


def test_a_decoder_that_refuses_a_row_fails_one_shot(kit) -> None:
    stream = kit.make()
    stream.refuse = lambda row: (row.epoch, row.sequence) == (0, 3)
    replies = stream.feed(*kit.shot(0), *kit.shot(1))
    assert kit.errors(replies) == [(ErrorCode.SHOT_FAILED, 0, 0)]
    assert kit.outputs(replies)[1:] == [
        ("RESULT", 0, 0, b"\0", Flag.FAILED),
        *kit.outputs(_second_shot(kit)),
    ]


def test_reload_swaps_at_a_window_boundary(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0)[:3])
    assert stream.session.request_reload(Reload(NEW)) == []
    assert stream.session.reload_wanted == Reload(NEW)
    before = stream.feed(kit.data(0, 3))
    stream.session.reload_prepared()
    after = stream.feed(*kit.shot(0)[4:])
    (ack,) = [frame for frame in after if frame.type == FrameType.RELOAD]
    assert (ack.epoch, decode_message(ack.payload, Reloaded)) == (0, Reloaded(NEW, NEW[:16], 4))
    models = [decode_commit(f.payload).model.hex() for f in before + after if f.type == FrameType.COMMIT]
    assert models == ["ab" * 8, "cd" * 8]
    assert [(swap.epoch, swap.at_round) for swap in stream.swaps] == [(0, 4)]


def test_reload_waits_for_the_boundary_and_happens_between_shots(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0)[:6])
    stream.session.request_reload(Reload(NEW))
    stream.session.reload_prepared()
    assert stream.work() == []
    assert not stream.swaps
    stream.feed(kit.data(0, 6))
    assert [(swap.epoch, swap.at_round) for swap in stream.swaps] == [(1, 0)]


def test_a_failed_reload_changes_nothing_and_another_may_follow(kit) -> None:
    stream = kit.make()
    stream.session.request_reload(Reload(NEW))
    assert kit.errors(stream.session.request_reload(Reload("ef" * 32))) == [(ErrorCode.RELOAD_BUSY, 0, 0)]
    assert kit.errors(stream.session.reload_failed("no such edge")) == [(ErrorCode.RELOAD_REJECTED, 0, 0)]
    assert kit.outputs(stream.feed(*kit.shot(0))) == kit.outputs(kit.make().feed(*kit.shot(0)))
    assert stream.session.model == "ab" * 32
    assert stream.session.request_reload(Reload("ef" * 32)) == []


def test_a_clock_that_jumps_back_delays_nothing_and_erases_nothing_early(kit) -> None:
    stream = kit.make()
    stream.now = 10_000
    stream.feed(kit.data(0, 0), kit.data(0, 2))
    stream.now = 0
    assert kit.outputs(stream.session.tick(0)) == []
    stream.feed(kit.data(0, 1))
    assert stream.session.stats.erased == 0
    stream.feed(*kit.shot(0)[3:])
    assert {out[4] for out in kit.outputs(stream.sent)} == {0}
    assert all(decode_commit(f.payload).time_in >= 10_000 for f in stream.sent if f.type == FrameType.COMMIT)


@pytest.mark.parametrize(
    "bad",
    [
        Frame(FrameType.ROUNDS, 3, 0, 0, b""),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\0\0"),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\1\0\x01\x01"),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\2\0\x01"),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\1\0\x10"),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\1\0\x01", Flag.ERASED),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\1\0\x01\x02", Flag.ERASED),
        Frame(FrameType.ROUNDS, 3, 0, 0, b"\1\0\x01", Flag.SYNTHETIC),
        Frame(FrameType.FINAL, 3, 0, 6, b"\1\0\x01\x01", Flag.ERASED),
        Frame(FrameType.FINAL, 3, 0, 5, b"\1\0\x01"),
        Frame(FrameType.FINAL, 3, 0, 4, b"\2\0\x01\x01"),
        Frame(FrameType.FINAL, 3, 0, 6, b"\2\0\x01\x01"),
        Frame(FrameType.ROUNDS, 3, 0, 6, b"\1\0\x01"),
        Frame(FrameType.ROUNDS, 3, 0, 5, b"\2\0\x01\x01"),
        Frame(FrameType.ROUNDS, 3, 0, 2**64 - 1, b"\1\0\x01"),
        Frame(FrameType.ROUNDS, 3, 2**32 - 1, 0, b"\1\0\x01"),
        Frame(FrameType.RESET, 3, 2**32 - 1),
        Frame(FrameType.COMMIT, 3, 0, 0, b"\x01"),
    ],
    ids=str,
)
def test_frames_that_do_not_fit_are_refused_and_leave_no_trace(kit, bad: Frame) -> None:
    stream = kit.make()
    assert len(kit.errors(stream.feed(bad))) == 1
    assert kit.outputs(stream.feed(*kit.shot(0))) == kit.outputs(kit.make().feed(*kit.shot(0)))


def test_resend_gives_what_came_after_and_says_when_it_cannot(kit) -> None:
    stream = kit.make()
    first = stream.feed(*kit.shot(0))
    resent = stream.session.resend(1)
    assert kit.outputs([f._replace(flags=0) for f in resent]) == kit.outputs(first)[1:]
    assert all(frame.flags & Flag.RESENT for frame in resent)
    assert stream.session.resend(4) == []
    assert stream.session.resend(5) is None
    for epoch in range(1, KEPT_OUTPUTS // 4 + 1):
        stream.feed(*kit.shot(epoch))
    assert stream.session.resend(3) is None
    assert len(stream.session.resend(4)) == KEPT_OUTPUTS


def test_stats_count_what_happened(kit) -> None:
    stream = kit.make()
    stream.feed(*kit.shot(0)[:3])
    (answer,) = stream.feed(Frame(FrameType.STATS, 3))
    assert decode_message(answer.payload, Stats).rounds == 3


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(["erase", "fail"]))
def test_any_losses_and_orders_end_with_one_result_a_shot(kit, seed: int, on_gap: str) -> None:
    """Lost, repeated, damaged, shuffled frames: results come once, in order, and degraded ones say so."""
    rng = random.Random(seed)
    shots = 6
    stream = kit.make(window=64, on_gap=on_gap)
    frames = [frame for epoch in range(shots) for frame in kit.shot(epoch)]
    lost = {at for at in range(len(frames) - 1) if rng.random() < 0.08}
    line = [(at + rng.uniform(0, 4), frame) for at, frame in enumerate(frames) if at not in lost]
    line += [(at + rng.uniform(0, 8), frame) for at, frame in line if rng.random() < 0.1]
    for _, frame in sorted(line, key=lambda entry: entry[0]):
        stream.feed(frame)
        stream.wait(rng.choice([0, 0, 20]))
    stream.wait(3 * kit.deadline)
    results = [out for out in kit.outputs(stream.sent) if out[0] == "RESULT"]
    assert [out[1] for out in results] == list(range(shots))
    clean = [out for out in kit.outputs(kit.make().feed(*frames)) if out[0] == "RESULT"]
    for epoch, (result, ideal) in enumerate(zip(results, clean, strict=True)):
        missing = [at - 7 * epoch for at in lost if at // 7 == epoch]
        flags = 0 if not missing else Flag.FAILED if on_gap == "fail" or 6 in missing else Flag.DEGRADED
        assert result[4] == flags
        assert missing or result == ideal
    ordering = stream.session.ordering
    assert (ordering.in_flight, ordering.gaps(), ordering.next_deadline()) == (0, [], None)


def _second_shot(kit) -> list[Frame]:
    stream = kit.make()
    stream.feed(*kit.shot(0))
    return stream.feed(*kit.shot(1))
