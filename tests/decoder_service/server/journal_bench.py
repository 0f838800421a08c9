"""Sessions without a worker or a connection, their journals, and frames to feed them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from decoder_service.building import Build, BuiltSources, build_decoder, tables_for
from decoder_service.protocol import (
    Frame,
    FrameParser,
    FrameType,
    Open,
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
    Restored,
    RestoredStream,
    StateFolder,
    UploadBudget,
    read_segment,
    restore,
    segments,
)

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
