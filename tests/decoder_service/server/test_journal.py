"""A stream restored from its journal goes on as if nothing had happened, wherever the crash was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameType,
    Opened,
    Reload,
    decode_commit,
    decode_message,
    encode_frame,
)
from decoder_service.store import (
    Journal,
    ReplayError,
    Segment,
    StateFolder,
    read_segment,
    replay,
    segments,
)

from .journal_bench import SESSION, Bench, bytes_of_head, outputs_in, untimed


def test_cut_anywhere_it_is_restored_and_goes_on_the_same(bench: Bench) -> None:
    """Every cut of the file, in the middle of a record too; the client sends again from where it is told."""
    frames = bench.frames(3, lost=frozenset({(1, 2), (2, 4)}))
    whole = bench.fresh("whole")
    expected = bench.feed(whole, frames)
    assert any(frame.flags & Flag.GAP for frame in expected)
    whole.close(over=False)
    (file,) = bench.files("whole")
    data = file.read_bytes()
    for cut in range(bytes_of_head(data), len(data) + 1, 11):
        name = f"cut{cut}"
        path = bench.write(name, file, data[:cut])
        server_stream = bench.restored(name)
        assert path.read_bytes() == data[:cut], "nothing is repaired in place"
        rest = [frame for frame in frames if (frame.epoch, frame.sequence) >= server_stream.reached]
        assert untimed(server_stream.kept) + untimed(bench.feed(server_stream, rest)) == untimed(expected)
        server_stream.close(over=False)
        again = [frame for file in bench.files(name) for frame in outputs_in(file)]
        unique = {frame.sequence: frame for frame in untimed(again)}
        assert list(unique.values()) == untimed(expected)


def test_restored_again_and_again_in_one_shot_it_goes_on_the_same(bench: Bench) -> None:
    """Every crash begins a segment with what was recorded of the shot that goes on."""
    frames = bench.frames(3)
    whole = bench.fresh("whole")
    expected = bench.feed(whole, frames)
    whole.close(over=False)
    life = bench.fresh("again")
    made: dict[int, Frame] = {}
    for frame in frames:
        made |= {output.sequence: output for output in untimed(bench.feed(life, [frame]))}
        life.close(over=False)
        life = bench.restored("again")
        assert untimed(life.kept) == list(made.values())
    assert list(made.values()) == untimed(expected)
    life.close(over=False)


def test_a_flipped_bit_anywhere_costs_what_it_damages(bench: Bench) -> None:
    """A complete shot costs its damaged output at most, the one in the middle of which it is ends FAILED."""
    frames = bench.frames(4)
    whole = bench.fresh("whole")
    shown = [frame for frame in frames if (frame.epoch, frame.sequence) < (2, 5)]
    before = bench.feed(whole, shown)
    whole.close(over=False)
    (file,) = bench.files("whole")
    data = file.read_bytes()
    expected = before + bench.feed(bench.restored("whole"), frames[len(shown) :])
    by_number = {frame.sequence: frame for frame in untimed(expected)}
    failed = 0
    for at in range(0, len(data), 11):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        name = f"flip{at}"
        path = bench.write(name, file, bytes(damaged))
        restored = bench.restore(name)
        assert restored.stream is not None
        server_stream = bench.go_on(name, restored.stream)
        assert path.read_bytes() == damaged, "nothing is repaired in place"
        (line,) = restored.damage
        copy = Path(line.rpartition("copy: ")[2])
        assert copy.read_bytes() == damaged
        outputs = server_stream.kept
        abandoned = [frame for frame in outputs if frame.flags & Flag.FAILED]
        failed += len(abandoned)
        assert [frame.epoch for frame in abandoned] in ([], [2])
        for frame in untimed(outputs):
            assert frame.flags & Flag.FAILED or frame == by_number[frame.sequence]
        assert restored.stream.position.outputs >= len(before) - 2, "nothing in front of the damage is lost"
        reached = server_stream.reached
        assert reached >= (2, 4), "one row at its end may be sent again"
        if abandoned:
            assert abandoned[0].sequence >= len(before), "no number is used twice"
            assert reached == (3, 0)
        rest = [frame for frame in frames if (frame.epoch, frame.sequence) >= reached]
        made = untimed(bench.feed(server_stream, rest))
        wanted = [frame for frame in by_number.values() if frame.epoch == 3]
        last = [frame for frame in made if frame.epoch == 3]
        assert [frame._replace(sequence=0) for frame in last] == [f._replace(sequence=0) for f in wanted]
        server_stream.close(over=False)
    assert failed > 10


def test_damage_to_both_heads_costs_the_stream_and_is_set_aside(bench: Bench) -> None:
    server_stream = bench.fresh("headless")
    bench.feed(server_stream, bench.frames(2))
    server_stream.close(over=False)
    (file,) = bench.files("headless")
    data = bytearray(file.read_bytes())
    for at in (40, bytes_of_head(bytes(data)) // 2 + 40):
        data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(ReplayError, match="no sound HELLO in its head") as lost:
        bench.restore("headless")
    assert not bench.files("headless")
    (copy,) = StateFolder(bench.folder / "headless").damaged.iterdir()
    assert copy.read_bytes() == data
    assert str(copy) in str(lost.value)


def test_a_damaged_head_of_one_segment_is_made_up_for_by_another(bench: Bench) -> None:
    bench.segment_bytes = 1500
    server_stream = bench.fresh("heads")
    made = bench.feed(server_stream, bench.frames(6))
    server_stream.close(over=False)
    *_, last = bench.files("heads")
    data = bytearray(last.read_bytes())
    for at in (40, bytes_of_head(bytes(data)) // 2 + 40):
        data[at] ^= 1
    last.write_bytes(data)
    again = bench.restored("heads")
    assert untimed(again.kept) == untimed(made)
    assert again.reached == (6, 0)


def test_lives_of_a_name_are_never_mixed(bench: Bench) -> None:
    """CLOSE, OPEN again, and a crash: what goes on is the second life, and the first is in the archive."""
    first = bench.fresh("lives")
    bench.feed(first, bench.frames(3))
    first.close(over=True)
    assert not bench.files("lives")
    second = bench.fresh("lives")
    frames = bench.frames(1)
    made = bench.feed(second, frames[:5])
    second.close(over=False)
    again = bench.restored("lives")
    assert untimed(again.kept) == untimed(made)
    assert again.reached == (0, 5)
    archive = StateFolder(bench.folder / "lives").archive
    assert {segment.generation for segment in segments(archive, SESSION)} == {0}
    assert {file.name.split(".")[1] for file in bench.files("lives")} == {"000001"}


def test_a_crash_before_a_closed_journal_is_put_away_does_not_revive_it(bench: Bench, monkeypatch) -> None:
    closed = bench.fresh("closed")
    bench.feed(closed, bench.frames(1))
    monkeypatch.setattr(Journal, "end", Journal.close)
    closed.close(over=True)
    monkeypatch.undo()
    fresh = bench.fresh("closed")
    made = bench.feed(fresh, bench.frames(1)[:4])
    fresh.close(over=False)
    fresh = bench.restored("closed")
    assert untimed(fresh.kept) == untimed(made)
    monkeypatch.setattr(Journal, "end", Journal.close)
    fresh.close(over=True)
    monkeypatch.undo()
    assert bench.restore("closed").stream is None
    assert not bench.files("closed")


def test_a_journal_of_another_stream_is_not_taken_up(bench: Bench) -> None:
    server_stream = bench.fresh("mine")
    server_stream.close(over=False)
    (file,) = bench.files("mine")
    file.rename(Segment(SESSION, 0, 7, 3).path(file.parent))
    with pytest.raises(ReplayError, match="of another journal"):
        bench.restore("mine")


def test_replay_of_resets_failures_reloads_and_segments(tmp_path: Path, kit) -> None:
    bench = Bench(tmp_path, kit, segment_bytes=1500, on_gap="fail")
    server_stream = bench.fresh("all")
    frames = bench.frames(9, lost=frozenset({(4, 2)}))
    made = bench.feed(server_stream, [f for f in frames if f.epoch < 2 or (f.epoch == 2 and f.sequence < 3)])
    bench.feed(server_stream, [Frame(FrameType.RESET, 0, 3)])
    made += bench.feed(server_stream, [f for f in frames if 3 <= f.epoch < 6])
    stream = server_stream.session.streams.by_number[0]
    stream.wanted = Reload("22" * 32, "circuit")
    model = bench.sources.model(bench.options, None, stream.wanted, stream.decoder)
    server_stream.session.streams._reloaded(stream, model)
    made += bench.feed(server_stream, [f for f in frames if f.epoch >= 6])
    server_stream.close(over=True)
    assert {f.epoch for f in made if f.flags & Flag.FAILED} == {4}
    archive = StateFolder(tmp_path / "all").archive
    paths = [segment.path(archive) for segment in segments(archive, SESSION, 0)]
    assert len(paths) >= 3
    pairs = [pair for path in paths for pair in replay(path, sources=bench.sources).outputs]
    assert all(untimed(recorded) == untimed(again) for recorded, again in pairs)
    assert untimed([f for recorded, _ in pairs for f in recorded]) == untimed(made)


def test_a_model_that_took_over_in_the_shot_that_filled_a_segment_holds_in_the_next(bench: Bench) -> None:
    """Both in one slice of work; a restart that read the new segment alone went on with the old model."""
    bench.segment_bytes = 1
    life = bench.fresh("both")
    plane, streams = life.session._plane, life.session.streams
    stream = streams.by_number[0]
    stream.wanted = Reload("22" * 32, "circuit")
    model = bench.sources.model(bench.options, None, stream.wanted, stream.decoder)
    streams._reloaded(stream, model)
    frames = bench.frames(2)
    plane.feed(b"".join(encode_frame(frame) for frame in frames if frame.epoch == 0))
    assert not plane.work()
    assert streams.handle_events()
    life.close(over=False)
    full, last = bench.files("both")
    content = read_segment(last)
    assert content.head is not None
    head = decode_message(content.head[1].payload, Opened)
    assert (head.model, head.model_id) == ("22" * 32, model.id)
    assert [frame.type for frame in content.records] == [FrameType.RELOAD]
    full.unlink()  # as if the last one had all the outputs that a resume may ask for
    again = bench.restored("both")
    made = bench.feed(again, [frame for frame in frames if frame.epoch == 1])
    again.close(over=False)
    expected = bench.kit.in_process(bench.kit.sample(2, seed=3), text=str(bench.kit.other), **bench.kit.sure)
    commits = [decode_commit(frame.payload, flags=frame.flags) for frame in made]
    assert {commit.model.hex() for commit in commits} == {model.id}
    assert [(one.upto_round, one.frame_bits, one.readout, one.gap) for one in commits] == [
        (upto, bits, readout, gap) for epoch, _, upto, bits, readout, _, gap in expected if epoch == 1
    ]


def test_replay_of_a_torn_journal_gives_what_is_sound_and_says_so(bench: Bench) -> None:
    """Wherever a crash within an append cuts the file; damage anywhere else is refused."""
    life = bench.fresh("torn")
    made = untimed(bench.feed(life, bench.frames(2)))
    life.close(over=False)
    (file,) = bench.files("torn")
    data = file.read_bytes()
    ends = {bytes_of_head(data)}
    for record in read_segment(file).records:
        ends.add(max(ends) + len(encode_frame(record)))
    for cut in range(bytes_of_head(data), len(data) + 1, 13):
        replayed = replay(bench.write(f"torn{cut}", file, data[:cut]), sources=bench.sources)
        torn = cut - max(end for end in ends if end <= cut)
        assert replayed.torn == (f"{torn} bytes at the end are no whole record" if torn else "")
        pairs = list(replayed.outputs)
        recorded = untimed([frame for recorded, _ in pairs for frame in recorded])
        again = untimed([frame for _, again in pairs for frame in again])
        assert recorded == made[: len(recorded)]
        assert again == made[: len(again)]
    damaged = bytearray(data)
    damaged[(bytes_of_head(data) + len(data)) // 2] ^= 1
    with pytest.raises(ReplayError, match="torn0"):
        replay(bench.write("torn0", file, bytes(damaged)), sources=bench.sources)


def test_a_truncated_live_journal_ends_nothing(bench: Bench) -> None:
    """Through a memory map it was SIGBUS, for all sessions of the worker."""
    server_stream = bench.fresh("cut")
    (file,) = bench.files("cut")
    frames = bench.frames(2)
    made = bench.feed(server_stream, frames[:9])
    os.truncate(file, 0)
    made += bench.feed(server_stream, frames[9:])
    assert len({frame.epoch for frame in made}) == 2
    server_stream.close(over=False)
    with pytest.raises(ReplayError, match="no sound HELLO"):
        bench.restore("cut")
