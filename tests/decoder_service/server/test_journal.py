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
    FrameType,
    Open,
    Reload,
    encode_block,
    encode_frame,
    without_times,
)
from decoder_service.server import journal as journal_module
from decoder_service.server.decoding import build_decoder
from decoder_service.server.journal import Journal, JournalError, read_frames, segments
from decoder_service.server.restore import ReplayError, replay, restore
from decoder_service.server.server_stream import ServerStream
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

    def fresh(self, name: str, *, prune: bool = False) -> ServerStream:
        config = OrderingConfig(window=1000, gap_deadline=1, on_gap=self.on_gap)
        session = StreamSession(0, self.decoder.shape, config, model=DIGEST, model_id=self.decoder.model_id)
        journal = Journal(self.folder / name, SESSION, 0, prune=prune)
        server_stream = ServerStream(
            session, self.options, self.decoder, journal, segment_bytes=self.segment_bytes
        )
        server_stream.begin_journal()
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

    def restore(self, name: str) -> ServerStream | None:
        return restore(
            self.folder / name,
            SESSION,
            0,
            build=lambda options, text: self.decoder,
            models=self.models.get,
            gap_deadline=1,
            segment_bytes=self.segment_bytes,
            prune=False,
        )


@pytest.fixture
def bench(tmp_path: Path, kit) -> Bench:
    return Bench(tmp_path, kit)


def untimed(frames: list[Frame]) -> list[Frame]:
    return list(map(without_times, frames))


def test_cut_anywhere_it_is_restored_and_goes_on_the_same(bench: Bench) -> None:
    """Every cut of the file, in the middle of a record too; the client sends again from where it is told."""
    frames = bench.frames(3, lost=frozenset({(1, 2), (2, 4)}))
    whole = bench.fresh("whole")
    expected = bench.feed(whole, frames)
    whole.close(over=False)
    data = segments(bench.folder / "whole", SESSION, 0)[0].read_bytes()
    start = _bytes_of_head(bench.folder / "whole")
    for cut in range(start, len(data) + 1, 11):
        name = f"cut{cut}"
        folder = bench.folder / name
        folder.mkdir()
        (folder / f"{SESSION}-0.000000.qdj").write_bytes(data[:cut])
        server_stream = bench.restore(name)
        assert server_stream is not None
        kept = server_stream.session.resend(0)
        assert kept is not None
        reached = server_stream.session.shape.place(server_stream.session.ordering.decoded)
        rest = [frame for frame in frames if (frame.epoch, frame.sequence) >= reached]
        assert untimed(kept) + untimed(bench.feed(server_stream, rest)) == untimed(expected)
        server_stream.close(over=False)
        again = [f for f in read_frames(segments(folder, SESSION, 0)[0]) if f.type in _OUTPUTS]
        assert untimed(again) == untimed(expected)


def _bytes_of_head(folder: Path) -> int:
    path = segments(folder, SESSION, 0)[0]
    return sum(len(encode_frame(f)) for f in list(read_frames(path))[:2])


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
    paths = segments(tmp_path / "all", SESSION, 0)
    assert len(paths) >= 3
    pairs = [pair for path in paths for pair in replay(path, build=build_decoder, models=bench.models.get)]
    assert all(untimed(recorded) == untimed(again) for recorded, again in pairs)
    assert untimed([f for recorded, _ in pairs for f in recorded]) == untimed(made)
    assert bench.restore("all") is None


def test_a_disk_that_fills_up_is_an_error_before_anything_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is allocated ahead of the records; what does not fit is neither written nor sent."""

    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module, "EXTENT", 512)
    server_stream = bench.fresh("full")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JournalError, match="No space left"):
        bench.feed(server_stream, bench.frames(2))
    server_stream.close(over=False)
    monkeypatch.undo()
    again = bench.restore("full")
    assert again is not None
    assert 0 < again.session.ordering.decoded < 16
    again.close(over=False)


def test_outputs_of_earlier_segments_are_kept_for_the_client_and_then_deleted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.segment_bytes = 600
    server_stream = bench.fresh("old", prune=True)
    made = bench.feed(server_stream, bench.frames(6))
    server_stream.close(over=False)
    assert len(segments(bench.folder / "old", SESSION, 0)) >= 5
    again = bench.restore("old")
    assert again is not None
    kept = again.session.resend(0)
    assert kept is not None
    assert untimed(kept) == untimed(made)
    again.close(over=False)
    monkeypatch.setattr(journal_module, "KEPT_OUTPUTS", 5)
    short = bench.fresh("short", prune=True)
    bench.feed(short, bench.frames(6))
    short.close(over=False)
    assert len(segments(bench.folder / "short", SESSION, 0)) <= 3


def test_a_segment_that_a_crash_left_without_its_head_is_passed_over(bench: Bench) -> None:
    bench.segment_bytes = 600
    server_stream = bench.fresh("headless")
    made = bench.feed(server_stream, bench.frames(3))
    server_stream.close(over=False)
    last = segments(bench.folder / "headless", SESSION, 0)[-1]
    (last.parent / f"{SESSION}-0.{int(last.name.split('.')[1]) + 1:06d}.qdj").write_bytes(bytes(4096))
    again = bench.restore("headless")
    assert again is not None
    kept = again.session.resend(0)
    assert kept is not None
    assert untimed(kept) == untimed(made)
    again.close(over=False)


def test_a_journal_that_cannot_go_on_touches_no_other_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed rotation must not leave a descriptor number that another file may get."""
    server_stream = bench.fresh("rotation")
    assert server_stream.journal is not None
    monkeypatch.setattr(os, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    with pytest.raises(JournalError, match="too many"):
        server_stream.journal.rotate(0)
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
    path = segments(bench.folder / "forged", SESSION, 0)[0]
    frames = list(read_frames(path))
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
