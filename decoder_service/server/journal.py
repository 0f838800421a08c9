"""The journal of a stream: what was decoded, in order, and what came out, as frames of the wire.

A segment file starts with OPEN and OPENED, at the beginning of a shot, and goes on with

    ROUNDS, FINAL     rows as they were decoded, lost ones as erased ones with SYNTHETIC
    RESET             shots abandoned before its epoch; SYNTHETIC where the server abandoned them,
                      and then `sequence` is the epoch and the payload the reason
    RELOAD            a model took over: Reload, with epoch and, as sequence, the round
    COMMIT, RESULT    the outputs, after the row that led to them
    CLOSE             the end of the stream

Records are written before the outputs in them are sent. Nothing in a file is ever changed; a record
that a crash cut short is dropped when the stream is restored.

A segment is written through a memory map of space that was allocated beforehand: that survives this
process as `write` does, costs no system call for a round, and a full disk is an error of the
allocation, before any record depends on it. Zeros follow the last record of a segment that is open.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from decoder_service.protocol import HEADER_BYTES, Frame, FrameParser, Limits, encode_frame
from decoder_service.session import KEPT_OUTPUTS

SUFFIX = ".qdj"
EXTENT = 1 << 20
"""Bytes allocated at a time."""
_CHUNK = 1 << 23
_LIMITS = Limits(round_bytes=1 << 24, control_bytes=1 << 24, upload_bytes=1 << 24, garbage_bytes=1 << 16)


class JournalError(OSError):
    """The journal could not be written; nothing that depends on the failed records may be sent."""


class Journal:
    """Appends the frames of one stream; `rotate` starts the next segment.

    Args:
        folder: of all journals.
        session: 32 hexadecimal digits, `stream` its number in the session.
        segment: number of the segment to continue or create.
        prune: delete segments once no output is in them that a client may still ask for.

    Raises:
        JournalError: the segment cannot be made or continued.
    """

    def __init__(self, folder: Path, session: str, stream: int, *, segment: int = 0, prune: bool) -> None:
        self._folder, self._session, self._stream = folder, session, stream
        self._segment = segment
        self._prune = prune
        self._older: deque[tuple[Path, int]] = deque()
        """Segments before this one that are kept, with the number of the first output after them."""
        self._pending: list[bytes] = []
        self._fd = -1
        self._map: mmap.mmap | None = None
        self.size = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            self.close()
            raise self._error(error) from error

    def add(self, frame: Frame) -> None:
        """Notes a frame; `flush` writes it."""
        self._pending.append(encode_frame(frame))

    def flush(self) -> None:
        """Puts what was noted where it survives this process.

        Raises:
            JournalError: the disk is full, or the like. The journal takes nothing more.
        """
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        self._write(data)

    def _write(self, data: bytes) -> None:
        end = self.size + len(data)
        if self._map is None or end > len(self._map):
            self._extend(end)
        self._map[self.size : end] = data  # pyright: ignore[reportOptionalSubscript]
        self.size = end

    @property
    def path(self) -> Path:
        """The current segment."""
        return segment_path(self._folder, self._session, self._stream, self._segment)

    def rotate(self, outputs: int) -> None:
        """Begins the next segment; the caller writes its OPEN and OPENED.

        Args:
            outputs: COMMITs and RESULTs so far.

        Raises:
            JournalError: as `flush`.
        """
        self.flush()
        if self._prune:
            self._older.append((self.path, outputs))
        self.close()
        self._segment += 1
        try:
            self._open()
        except OSError as error:
            raise self._error(error) from error
        self._forget(outputs - KEPT_OUTPUTS)

    def keep_older(self, older: list[tuple[Path, int]]) -> None:
        """Takes over segments before the current one, as in `rotate`, oldest first."""
        if self._prune:
            self._older.extend(older)

    def close(self) -> None:
        """Closes the file, cut back to its records. It can be called twice."""
        fd, self._fd = self._fd, -1
        if self._map is not None:
            self._map.close()
            self._map = None
        if fd >= 0:
            try:
                if os.fstat(fd).st_size > self.size:
                    os.ftruncate(fd, self.size)
            finally:
                os.close(fd)

    def remove(self) -> None:
        """Deletes the files of a stream that is over."""
        self.close()
        for path in segments(self._folder, self._session, self._stream):
            path.unlink(missing_ok=True)

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size
        self._extend(self.size + 1)

    def _extend(self, needed: int) -> None:
        """Makes room for `needed` bytes in all."""
        total = -(-needed // EXTENT) * EXTENT
        try:
            if self._fd < 0:
                raise OSError(9, "the journal is closed")
            os.posix_fallocate(self._fd, self.size, total - self.size)
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self._fd, total)
        except (OSError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: OSError | ValueError) -> JournalError:
        if isinstance(error, JournalError):
            return error
        number = error.errno if isinstance(error, OSError) else None
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return JournalError(number, f"journal: {reason}", str(self.path))

    def _forget(self, oldest: int) -> None:
        """Deletes segments whose outputs all have numbers below `oldest`."""
        while self._older and self._older[0][1] <= oldest:
            self._older.popleft()[0].unlink(missing_ok=True)


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
    """The sound frames from the beginning of a segment; stops at the first damage, or its zeros."""
    parser = FrameParser(limits=_LIMITS)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for item in parser.feed(chunk):
                if not isinstance(item, Frame):
                    return
                yield item


def read_to_continue(path: Path) -> list[Frame]:
    """The sound frames of a segment, which is cut back to them so that it can be continued."""
    frames = list(read_frames(path))
    sound = sum(HEADER_BYTES + len(frame.payload) for frame in frames)
    if sound < path.stat().st_size:
        os.truncate(path, sound)
    return frames
