"""A stream restored from its journal goes on as if nothing had happened, wherever the crash was."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Literal

import pytest

from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Open,
    Reload,
    encode_block,
    encode_frame,
    without_times,
)
from decoder_service.server import journal as journal_module
from decoder_service.server.decoding import build_decoder
from decoder_service.server.journal import HEAD, Journal, JournalError, Segment, read_segment, segments
from decoder_service.server.restore import ReplayError, Restored, replay, restore
from decoder_service.server.server_stream import ServerStream
from decoder_service.server.state import StateFolder
from decoder_service.session import OrderingConfig, StreamSession

SESSION = "0123456789abcdef" * 2
DIGEST = "11" * 32
_OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


class Bench:
    """A server stream without a worker, and frames to feed it."""

    def __init__(
        self, folder: Path, kit, *, segment_bytes: int = 1 << 30, on_gap: Literal["erase", "fail"] = "erase"
    ) -> None:
        self.folder, self.kit, self.segment_bytes, self.on_gap = folder, kit, segment_bytes, on_gap
        self.options = Open(model=DIGEST, on_gap=on_gap, **kit.options)
        self.models = {DIGEST: kit.text, "22" * 32: str(kit.other)}
        self.decoder = build_decoder(self.options, kit.text)
        self.now = 0

    def state(self, name: str) -> StateFolder:
        state = StateFolder(self.folder / name)
        os.close(state.lock())
        return state

    def fresh(self, name: str, *, keep: bool = True) -> ServerStream:
        config = OrderingConfig(window=1000, gap_deadline=1, on_gap=self.on_gap)
        session = StreamSession(0, self.decoder.shape, config, model=DIGEST, model_id=self.decoder.model_id)
        server_stream = ServerStream(session, self.options, self.decoder, segment_bytes=self.segment_bytes)
        server_stream.begin_journal(self.state(name), SESSION, keep=keep)
        return server_stream

    def feed(self, server_stream: ServerStream, frames: list[Frame]) -> list[Frame]:
        """One frame at a time, each with its own write, gaps erased at once."""
        out = []
        for frame in frames:
            self.now += 10
            server_stream.session.receive(frame, self.now)
            server_stream.session.tick(self.now + 5)
            out += [f for f in server_stream.work(10**9) if f.type in (FrameType.COMMIT, FrameType.RESULT)]
        return out

    def frames(self, shots: int, *, lost: frozenset[tuple[int, int]] = frozenset()) -> list[Frame]:
        out = []
        for epoch, shot in enumerate(self.kit.sample(shots, seed=3)):
            for sequence, row in enumerate(self.kit.rows(shot, self.decoder.shape)):
                kind = FrameType.FINAL if sequence == self.decoder.shape.rounds else FrameType.ROUNDS
                if (epoch, sequence) not in lost:
                    out.append(Frame(kind, 0, epoch, sequence, encode_block([row])))
        return out

    def files(self, name: str) -> list[Path]:
        """Of the journal, oldest first."""
        folder = StateFolder(self.folder / name).journals
        return [segment.path(folder) for segment in segments(folder, SESSION, 0)]

    def restore(self, name: str) -> Restored:
        return restore(
            StateFolder(self.folder / name),
            SESSION,
            0,
            build=lambda options, text: self.decoder,
            models=self.models.get,
            gap_deadline=1,
            segment_bytes=self.segment_bytes,
            keep=True,
        )

    def restored(self, name: str) -> ServerStream:
        restored = self.restore(name)
        assert restored.stream is not None
        return restored.stream

    def write(self, name: str, file: Path, data: bytes) -> Path:
        """A journal of one segment, with the name of `file`."""
        path = self.state(name).journals / file.name
        path.write_bytes(data)
        return path


@pytest.fixture
def bench(tmp_path: Path, kit) -> Bench:
    return Bench(tmp_path, kit)


def untimed(frames: list[Frame]) -> list[Frame]:
    return list(map(without_times, frames))


def outputs_in(path: Path) -> list[Frame]:
    return [frame for frame in read_segment(path).records if frame.type in _OUTPUTS]


def bytes_of_head(data: bytes) -> int:
    """Both copies."""
    count = 0
    for frame in FrameParser().feed(data):
        if not isinstance(frame, Frame) or frame.type not in HEAD:
            break
        count += len(encode_frame(frame))
    return count


def kept(server_stream: ServerStream) -> list[Frame]:
    """The outputs that a client may still ask for."""
    for first in range(server_stream.session.outputs + 1):
        frames = server_stream.session.resend(first)
        if frames is not None:
            return frames
    raise AssertionError("not even those to come")


def test_cut_anywhere_it_is_restored_and_goes_on_the_same(bench: Bench) -> None:
    """Every cut of the file, in the middle of a record too; the client sends again from where it is told."""
    frames = bench.frames(3, lost=frozenset({(1, 2), (2, 4)}))
    whole = bench.fresh("whole")
    expected = bench.feed(whole, frames)
    whole.close(over=False)
    (file,) = bench.files("whole")
    data = file.read_bytes()
    for cut in range(bytes_of_head(data), len(data) + 1, 11):
        name = f"cut{cut}"
        path = bench.write(name, file, data[:cut])
        server_stream = bench.restored(name)
        assert path.read_bytes() == data[:cut], "nothing is repaired in place"
        reached = server_stream.session.shape.place(server_stream.session.ordering.decoded)
        rest = [frame for frame in frames if (frame.epoch, frame.sequence) >= reached]
        assert untimed(kept(server_stream)) + untimed(bench.feed(server_stream, rest)) == untimed(expected)
        server_stream.close(over=False)
        again = [frame for file in bench.files(name) for frame in outputs_in(file)]
        unique = {frame.sequence: frame for frame in untimed(again)}
        assert list(unique.values()) == untimed(expected)


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
    for at in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        name = f"flip{at}"
        path = bench.write(name, file, bytes(damaged))
        restored = bench.restore(name)
        server_stream = restored.stream
        assert server_stream is not None
        assert path.read_bytes() == damaged, "nothing is repaired in place"
        (line,) = restored.damage
        copy = Path(line.rpartition("copy: ")[2])
        assert copy.read_bytes() == damaged
        outputs = kept(server_stream)
        abandoned = [frame for frame in outputs if frame.flags & Flag.FAILED]
        failed += len(abandoned)
        assert [frame.epoch for frame in abandoned] in ([], [2])
        for frame in untimed(outputs):
            assert frame.flags & Flag.FAILED or frame == by_number[frame.sequence]
        assert server_stream.session.outputs >= len(before) - 2, "nothing in front of the damage is lost"
        shape = server_stream.session.shape
        reached = shape.place(server_stream.session.ordering.decoded)
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
    assert untimed(kept(again)) == untimed(made)
    assert again.session.shape.place(again.session.ordering.decoded) == (6, 0)


def test_lives_of_a_name_are_never_mixed(bench: Bench) -> None:
    """CLOSE, OPEN again, and a crash: what goes on is the second life, and the first is in the archive."""
    first = bench.fresh("lives")
    bench.feed(first, bench.frames(3))
    first.close(over=True)
    assert not bench.files("lives")
    second = bench.fresh("lives")
    assert second.journal is not None
    frames = bench.frames(1)
    made = bench.feed(second, frames[:5])
    second.close(over=False)
    again = bench.restored("lives")
    assert untimed(kept(again)) == untimed(made)
    assert again.session.ordering.decoded == 5
    archive = StateFolder(bench.folder / "lives").archive
    assert {segment.generation for segment in segments(archive, SESSION)} == {0}
    assert {segment.generation for segment in segments(second.journal.path.parent, SESSION)} == {1}


def test_a_crash_before_a_closed_journal_is_put_away_does_not_revive_it(bench: Bench, monkeypatch) -> None:
    closed = bench.fresh("closed")
    bench.feed(closed, bench.frames(1))
    monkeypatch.setattr(Journal, "end", Journal.close)
    closed.close(over=True)
    monkeypatch.undo()
    fresh = bench.fresh("closed")
    made = bench.feed(fresh, bench.frames(1)[:4])
    fresh.close(over=False)
    assert untimed(kept(bench.restored("closed"))) == untimed(made)
    fresh = bench.restored("closed")
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
    server_stream.session.request_reload(Reload("22" * 32, "circuit"))
    server_stream.prepared = bench.decoder.prepare(str(kit.other), "circuit", separate_process=False)
    server_stream.session.reload_prepared()
    made += bench.feed(server_stream, [f for f in frames if f.epoch >= 6])
    server_stream.close(over=True)
    assert {f.epoch for f in made if f.flags & Flag.FAILED} == {4}
    archive = StateFolder(tmp_path / "all").archive
    paths = [segment.path(archive) for segment in segments(archive, SESSION, 0)]
    assert len(paths) >= 3
    pairs = [pair for path in paths for pair in replay(path, build=build_decoder, models=bench.models.get)]
    assert all(untimed(recorded) == untimed(again) for recorded, again in pairs)
    assert untimed([f for recorded, _ in pairs for f in recorded]) == untimed(made)


def test_a_disk_that_fills_up_is_an_error_before_anything_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of which only a part fits is not sent, and nothing follows it in the file."""
    server_stream = bench.fresh("full")
    assert server_stream.journal is not None
    left = 600
    write = os.write

    def full(fd: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= (written := write(fd, data[:left]))
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalError, match="could be written"):
        bench.feed(server_stream, bench.frames(2))
    with pytest.raises(JournalError, match="closed"):
        bench.feed(server_stream, bench.frames(2))
    server_stream.close(over=False)
    monkeypatch.undo()
    again = bench.restored("full")
    assert 0 < again.session.ordering.decoded < 16
    again.close(over=False)


def test_an_open_on_a_full_disk_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    state = bench.state("full")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalError, match="No space left"):
        Journal(state, Journal.next_life(state, SESSION, 0), [], keep=True)
    assert not list(state.journals.iterdir())


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


def test_outputs_of_earlier_segments_are_kept_for_the_client_and_then_put_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.segment_bytes = 600
    server_stream = bench.fresh("old", keep=False)
    made = bench.feed(server_stream, bench.frames(6))
    server_stream.close(over=False)
    assert len(bench.files("old")) >= 5
    again = bench.restored("old")
    assert untimed(kept(again)) == untimed(made)
    again.close(over=False)
    monkeypatch.setattr(journal_module, "KEPT_OUTPUTS", 5)
    for keep in (False, True):
        name = f"short {keep}"
        short = bench.fresh(name, keep=keep)
        bench.feed(short, bench.frames(6))
        short.close(over=False)
        assert len(bench.files(name)) <= 3
        assert (len(list(StateFolder(bench.folder / name).archive.iterdir())) > 2) is keep


def test_a_journal_that_cannot_go_on_touches_no_other_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed rotation must not leave a descriptor number that another file may get."""
    server_stream = bench.fresh("rotation")
    assert server_stream.journal is not None
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    with pytest.raises(JournalError, match="too many"):
        server_stream.journal.rotate(0, server_stream.head())
    monkeypatch.undo()
    with (bench.folder / "other").open("wb") as other:
        server_stream.journal.close()
        server_stream.journal.add(Frame(FrameType.PING))
        with pytest.raises(JournalError, match="closed"):
            server_stream.journal.flush()
        other.write(b"mine")
    assert (bench.folder / "other").read_bytes() == b"mine"


def test_a_journal_that_does_not_lead_to_its_frames_is_refused(bench: Bench) -> None:
    server_stream = bench.fresh("forged")
    bench.feed(server_stream, bench.frames(1)[:6])
    server_stream.close(over=False)
    (path,) = bench.files("forged")
    frames = [frame for frame in FrameParser().feed(path.read_bytes()) if isinstance(frame, Frame)]
    commit = next(at for at, frame in enumerate(frames) if frame.type == FrameType.COMMIT)
    payload = bytearray(frames[commit].payload)
    payload[-1] ^= 1
    frames[commit] = frames[commit]._replace(payload=bytes(payload))
    path.write_bytes(b"".join(map(encode_frame, frames)))
    with pytest.raises(ReplayError, match="other frames"):
        bench.restore("forged")


def test_files_are_private(bench: Bench) -> None:
    server_stream = bench.fresh("mode")
    assert server_stream.journal is not None
    assert server_stream.journal.path.stat().st_mode & 0o777 == 0o600
    assert server_stream.journal.path.parent.stat().st_mode & 0o777 == 0o700
    server_stream.close(over=False)
