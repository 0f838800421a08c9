"""Files of a journal: disks that fill up or fail, files that are in the way, and what is put away."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from decoder_service.protocol import (
    Frame,
    FrameParser,
    FrameType,
    encode_frame,
)
from decoder_service.store import (
    Journal,
    JournalError,
    Position,
    ReplayError,
    StateFolder,
    read_segment,
    replay,
)
from decoder_service.store import journal as journal_module

from .journal_bench import SESSION, Bench, outputs_in, untimed


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
