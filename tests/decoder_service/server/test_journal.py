"""A stream restored from its journal goes on as if nothing had happened, wherever the crash was."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import pytest

from decoder_service.building import Build, BuiltSources, build_decoder, tables_for
from decoder_service.protocol import (
    Flag,
    Frame,
    FrameParser,
    FrameType,
    Open,
    Opened,
    Reload,
    decode_commit,
    decode_message,
    encode_block,
    encode_frame,
    without_times,
)
from decoder_service.server import BuildLimits, WorkerConfig
from decoder_service.server.client_session import ClientSession
from decoder_service.server.metrics import Samples, WorkerMetrics
from decoder_service.store import (
    HEAD,
    Journal,
    JournalError,
    Position,
    ReplayError,
    Restored,
    RestoredStream,
    Segment,
    StateFolder,
    UploadBudget,
    read_segment,
    replay,
    restore,
    segments,
)
from decoder_service.store import journal as journal_module

SESSION = "0123456789abcdef" * 2
DIGEST = "11" * 32
_OUTPUTS = (FrameType.COMMIT, FrameType.RESULT)


class Jobs:
    """What a session has done for it, which is nothing here."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        self.samples = Samples(self.metrics)
        self.uploads = UploadBudget(max_bytes=1 << 20)

    def event(self, event: str, **fields: str | int | float) -> None:
        assert event != "session failed", fields


class Life(NamedTuple):
    """A session with stream 0, and what was restored of it."""

    session: ClientSession
    restored: RestoredStream | None = None

    @property
    def kept(self) -> list[Frame]:
        assert self.restored is not None
        return self.restored.kept

    @property
    def reached(self) -> tuple[int, int]:
        assert self.restored is not None
        return self.restored.position[:2]

    @property
    def journal(self) -> Journal:
        return self.session.streams.by_number[0].journal

    def close(self, *, over: bool) -> None:
        self.session.streams.over = over
        self.session.end()


class Bench:
    """A session without a worker or a connection, and frames to feed it."""

    def __init__(
        self, folder: Path, kit, *, segment_bytes: int = 1 << 30, on_gap: Literal["erase", "fail"] = "erase"
    ) -> None:
        self.folder, self.kit, self.segment_bytes, self.on_gap = folder, kit, segment_bytes, on_gap
        self.options = Open(model=DIGEST, on_gap=on_gap, **kit.options, **kit.sure)
        self.models = {DIGEST: kit.text, "22" * 32: str(kit.other)}
        self._tables: dict[str, bytes] = {}
        self.shape = build_decoder(self.options, kit.text).shape
        self.sources = BuiltSources(self.text, self.tables)

    def tables(self, build: Build) -> bytes:
        if build.key not in self._tables:
            self._tables[build.key] = tables_for(build, self.text, BuildLimits())
        return self._tables[build.key]

    def text(self, digest: str) -> str:
        return self.models[digest]

    def state(self, name: str) -> StateFolder:
        state = StateFolder(self.folder / name)
        os.close(state.lock())
        return state

    def session(self, name: str, *, keep: bool = True) -> ClientSession:
        config = WorkerConfig(
            state=str(self.folder / name),
            prune=not keep,
            window=1000,
            gap_deadline=1e-9,
            segment_bytes=self.segment_bytes,
            time_slice=60,  # however slow this machine is, a slice ends where its work does
        )
        return ClientSession(SESSION, cast(Any, Jobs(config)), left=lambda *_: None)

    def fresh(self, name: str, *, keep: bool = True) -> Life:
        self.state(name)
        session = self.session(name, keep=keep)
        session.streams._opened(0, self.options, self.sources.decoder(self.options))
        return Life(session)

    def feed(self, life: Life, frames: list[Frame]) -> list[Frame]:
        """One frame at a time, each with its own write, gaps erased at once."""
        plane, out = life.session._plane, b""
        for frame in frames:
            plane.feed(encode_frame(frame))
            plane.tick()
            while plane.work():
                life.session.streams.handle_events()
            life.session.streams.handle_events()
            out += plane.take_output()
        return [f for f in FrameParser().feed(out) if isinstance(f, Frame) and f.type in _OUTPUTS]

    def frames(self, shots: int, *, lost: frozenset[tuple[int, int]] = frozenset()) -> list[Frame]:
        out = []
        for epoch, shot in enumerate(self.kit.sample(shots, seed=3)):
            for sequence, row in enumerate(self.kit.rows(shot, self.shape)):
                kind = FrameType.FINAL if sequence == self.shape.rounds else FrameType.ROUNDS
                if (epoch, sequence) not in lost:
                    out.append(Frame(kind, 0, epoch, sequence, encode_block([row])))
        return out

    def files(self, name: str) -> list[Path]:
        """Of the journal, oldest first."""
        folder = StateFolder(self.folder / name).journals
        return [segment.path(folder) for segment in segments(folder, SESSION, 0)]

    def restore(self, name: str) -> Restored:
        return restore(
            StateFolder(self.folder / name), SESSION, 0, sources=self.sources, gap_deadline=1, keep=True
        )

    def restored(self, name: str) -> Life:
        restored = self.restore(name)
        assert restored.stream is not None
        return self.go_on(name, restored.stream)

    def go_on(self, name: str, restored: RestoredStream) -> Life:
        session = self.session(name)
        session.add(restored)
        session._plane.announce(0)
        return Life(session, restored)

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


def test_a_disk_that_fills_up_is_an_error_before_anything_is_sent(bench: Bench) -> None:
    """A record of which only a part fits is not sent, and nothing follows it in the file."""
    life = bench.fresh("full")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = life.journal.size + 600
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, before[1]))
    try:
        made = bench.feed(life, bench.frames(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not life.session.streams.by_number
    (file,) = bench.files("full")
    assert file.stat().st_size < full
    content = read_segment(file)
    assert not content.damage
    assert not content.torn
    assert untimed(outputs_in(file)) == untimed(made)
    assert untimed(
        [f for recorded, _ in replay(file, sources=bench.sources).outputs for f in recorded]
    ) == untimed(made)
    life = bench.restored("full")
    assert (0, 0) < life.reached < (1, 8)
    life.close(over=False)


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


class Disk:
    """`os.write` on a disk that has room for so many more bytes, and `os.ftruncate`, which may fail too."""

    def __init__(self, room: int, *, stuck: bool = False) -> None:
        self.room, self.stuck = room, stuck
        self._write, self._truncate = os.write, os.ftruncate

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        if self.stuck:
            raise OSError(errno.EIO, "Input/output error")
        self._truncate(fd, size)


@pytest.mark.parametrize("room", [0, 1, 31, 32, 40])
@pytest.mark.parametrize("stuck", [False, True])
def test_an_append_that_fails_takes_its_bytes_back_or_says_that_it_cannot(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: int, stuck: bool
) -> None:
    state = bench.state("short")
    segment = Journal.next_life(state, SESSION, 0)
    life = bench.fresh("short")
    stream = life.session.streams.by_number[0]
    head = stream.head.records(stream.decoder, Position(0, 0, 0))
    journal = Journal(state, segment._replace(stream=7), head, keep=True)
    size = journal.size
    journal.add(Frame(FrameType.PING, 7, payload=b"whole"))
    journal.flush()
    whole = size + 37
    disk = Disk(room, stuck=stuck)
    monkeypatch.setattr(os, "write", disk.write)
    monkeypatch.setattr(os, "ftruncate", disk.ftruncate)
    journal.add(Frame(FrameType.PING, 7, payload=bytes(10)))
    left = room if stuck else 0
    expected = f"its last {room} bytes are no whole record, and stay: Input" if left else "No space left"
    with pytest.raises(JournalError, match=expected):
        journal.flush()
    monkeypatch.undo()
    assert journal.path.stat().st_size == whole + left
    assert read_segment(journal.path).torn == (f"{left} bytes at the end are no whole record" if left else "")
    journal.add(Frame(FrameType.PING, 7))
    with pytest.raises(JournalError, match="closed"):
        journal.flush()
    assert journal.path.stat().st_size == whole + left
    life.close(over=False)


@pytest.mark.parametrize("room", [0, 20])
def test_an_open_on_a_full_disk_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    state = bench.state("full")
    monkeypatch.setattr(os, "write", Disk(room).write)
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
    assert untimed(again.kept) == untimed(made)
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
    journal = server_stream.journal
    stream = server_stream.session.streams.by_number[0]
    head = stream.head.records(stream.decoder, Position(0, 0, 0))
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    with pytest.raises(JournalError, match="too many"):
        journal.rotate(0, head)
    monkeypatch.undo()
    with (bench.folder / "other").open("wb") as other:
        journal.close()
        journal.add(Frame(FrameType.PING))
        with pytest.raises(JournalError, match="closed"):
            journal.flush()
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
    assert server_stream.journal.path.stat().st_mode & 0o777 == 0o600
    assert server_stream.journal.path.parent.stat().st_mode & 0o777 == 0o700
    server_stream.close(over=False)
