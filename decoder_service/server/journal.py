"""The journal of a stream: what was decoded, in order, and what came out, as frames of the wire.

A segment file starts with OPEN and OPENED, at the beginning of a shot, and goes on with

    ROUND, FINAL      rows as they were decoded, lost ones as erased ones with SYNTHETIC
    RESET             shots given up before its epoch; SYNTHETIC where the server gave them up,
                      and then `sequence` is the epoch and the payload the reason
    RELOAD            a model took over: Reload, with epoch and, as sequence, the round
    COMMIT, RESULT    the outputs, after the row that led to them
    CLOSE             the end of the stream

Records are written before the outputs in them are sent. Nothing in a file is ever changed; a record
that a crash cut short is dropped when the stream is restored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from decoder_service.wire import Frame, FrameParser, Limits, encode_frame

SUFFIX = ".qdj"
_CHUNK = 1 << 20
_LIMITS = Limits(round_bytes=1 << 24, control_bytes=1 << 24, upload_bytes=1 << 24, garbage_bytes=1 << 16)


class JournalError(OSError):
    """The journal could not be written; nothing that depends on the failed records may be sent."""


class Journal:
    """Appends the frames of one stream; `rotate` starts the next segment.

    Args:
        folder: of all journals.
        session: 32 hexadecimal digits, `stream` its number in the session.
        segment: number of the segment to continue or create.
        prune: delete older segments once a new one is begun.
    """

    def __init__(self, folder: Path, session: str, stream: int, *, segment: int = 0, prune: bool) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._session, self._stream = folder, session, stream
        self._segment = segment
        self._prune = prune
        self._pending = bytearray()
        self._fd = -1
        self.size = 0
        self._open()

    def add(self, frame: Frame) -> None:
        """Notes a frame; `flush` writes it."""
        self._pending += encode_frame(frame)

    def flush(self) -> None:
        """Hands what was noted to the operating system: it survives this process.

        Raises:
            JournalError: the disk is full, or the like. The journal takes nothing more.
        """
        if not self._pending:
            return
        data = memoryview(bytes(self._pending))
        self._pending.clear()
        try:
            while data:
                written = os.write(self._fd, data)
                self.size += written
                data = data[written:]
        except OSError as error:
            raise JournalError(error.errno, f"journal: {error.strerror}", str(self.path)) from error

    @property
    def path(self) -> Path:
        """The current segment."""
        return segment_path(self._folder, self._session, self._stream, self._segment)

    def rotate(self) -> None:
        """Begins the next segment; the caller writes its OPEN and OPENED."""
        os.close(self._fd)  # no fsync here: rotation is on the hot path
        old = self.path
        self._segment += 1
        self._open()
        if self._prune:
            old.unlink(missing_ok=True)

    def close(self) -> None:
        """Flushes to the disk itself and closes the file."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Deletes the files of a stream that is over."""
        self.close()
        for path in segments(self._folder, self._session, self._stream):
            path.unlink(missing_ok=True)

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise JournalError(error.errno, f"journal: {error.strerror}", str(self.path)) from error


def segment_path(folder: Path, session: str, stream: int, segment: int) -> Path:
    """File of a segment."""
    return folder / f"{session}-{stream}.{segment:06d}{SUFFIX}"


def segments(folder: Path, session: str, stream: int) -> list[Path]:
    """Segment files of a stream, oldest first."""
    return sorted(folder.glob(f"{session}-{stream}.*{SUFFIX}"))


def streams_of(folder: Path, session: str) -> list[int]:
    """Streams of a session that have a journal."""
    names = {path.name.split(".")[0] for path in folder.glob(f"{session}-*{SUFFIX}")}
    return sorted(int(name.split("-")[1]) for name in names)


def read_frames(path: Path) -> Iterator[Frame]:
    """The sound frames from the beginning of a segment; stops at the first damage."""
    parser = FrameParser(limits=_LIMITS)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for item in parser.feed(chunk):
                if not isinstance(item, Frame):
                    return
                yield item


def truncate_torn(path: Path) -> None:
    """Cuts a file back to its sound frames, so that it can be continued."""
    sound = sum(len(encode_frame(frame)) for frame in read_frames(path))
    if sound < path.stat().st_size:
        os.truncate(path, sound)
