"""The journal of a stream: what was decoded, in order, and what came out, as frames of the wire.

A stream name may be used again once its stream is over, so every life of it has a generation. A life is a
number of segment files; each begins at the beginning of a shot with its head, twice, so that damage to one
copy costs nothing:

    HELLO             JournalHead: whose journal this is
    OPEN, OPENED      the options, and the place that the segment begins at
    RELOAD            the model that took over before it, if one did

and goes on with

    ROUNDS, FINAL     rows as they were decoded, lost ones as erased ones with SYNTHETIC
    RESET             shots abandoned before its epoch; SYNTHETIC where the server abandoned them,
                      and then `sequence` is the epoch and the payload the reason
    RELOAD            a model took over: Reload, with epoch and, as sequence, the round
    COMMIT, RESULT    the outputs, after the row that led to them
    CLOSE             the end of the stream

Records are written before the outputs in them are sent, by `write`, which survives the end of the process
(not a loss of power: nothing is synced). No record in a file is ever changed: it gets its name when its head
is written, and is only appended to by the process that made it; a restored stream goes on in a new segment,
which repeats what was recorded of the shot that goes on. Of an append that fails, on a full disk, what was
written is cut off again: a file ends with a whole record, unless the process ended in the middle of one.
Every record has its own checks, so that damage costs the damaged record alone.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from decoder_service.protocol import Frame, FrameType, encode_frame
from decoder_service.session import KEPT_OUTPUTS
from decoder_service.store.folder import PART, StateFolder
from decoder_service.store.segment import HEAD, Segment, put_away, segments


class JournalError(OSError):
    """The journal could not be written; nothing that depends on the failed records may be sent."""


class Journal:
    """Appends the frames of one life of a stream; `rotate` starts the next segment.

    Args:
        state: whose `journals` it is one of.
        segment: to create; see `next_life`.
        records: its first, which are the head and, of a restored stream, what was recorded of the shot that
            goes on.
        keep: whether segments that no resume needs any more are kept in the archive, or deleted.

    Raises:
        JournalError: the segment cannot be made; nothing of it is left.
    """

    def __init__(self, state: StateFolder, segment: Segment, records: Sequence[Frame], *, keep: bool) -> None:
        self._state = state
        self._keep = keep
        self._segment = segment
        self._older: deque[tuple[Segment, int]] = deque()
        """Segments before this one, with the number of the first output after them."""
        self._pending: list[bytes] = []
        self._fd = -1
        self.size = 0
        """Bytes in the current segment when it was begun, or when this wrote to it last."""
        self._begin(records)

    @classmethod
    def next_life(cls, state: StateFolder, session: str, stream: int) -> Segment:
        """The first segment of a stream that is opened: of a generation that no file is of."""
        folders = (state.journals, state.archive)
        found = [segment.generation for folder in folders for segment in segments(folder, session, stream)]
        return Segment(session, stream, max(found, default=-1) + 1, 0)

    @property
    def fd(self) -> int:
        """Of the current segment, at its end, for whoever appends records to it too."""
        return self._fd

    @property
    def path(self) -> Path:
        """The current segment."""
        return self._segment.path(self._state.journals)

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

    def rotate(self, outputs: int, head: Sequence[Frame]) -> None:
        """Begins the next segment.

        Args:
            outputs: COMMITs and RESULTs so far.
            head: OPEN and OPENED, and the RELOAD that holds.

        Raises:
            JournalError: as `flush`.
        """
        self.flush()
        try:
            self.close()
        except OSError as error:  # some file systems say only now that they are full
            raise self._error(error) from error
        self._older.append((self._segment, outputs))
        self._segment = self._segment._replace(number=self._segment.number + 1)
        self._begin(head)
        while self._older[0][1] <= outputs - KEPT_OUTPUTS:
            self._put_away(self._older.popleft()[0])

    def keep_older(self, older: Iterable[tuple[Segment, int]]) -> None:
        """Takes over segments before the current one, as in `rotate`, oldest first."""
        self._older.extend(older)

    def close(self) -> None:
        """Closes the file. It can be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def end(self) -> None:
        """Closes the journal of a stream that is over, and puts it away."""
        self.close()
        for segment, _ in self._older:
            self._put_away(segment)
        self._put_away(self._segment)

    def _begin(self, records: Sequence[Frame]) -> None:
        """Creates the current segment. Its name appears with its head, never without."""
        part = self.path.with_name(self.path.name + PART)
        head = [record for record in records[:3] if record.type in (*HEAD, FrameType.RELOAD)]
        head = [self._segment.head(), *head]
        data = b"".join(map(encode_frame, [*head, *head, *records[len(head) - 1 :]]))
        try:
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, "the segment is there already")
            self._fd = os.open(
                part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            self.size = 0
            self._write(data)
            part.rename(self.path)
        except OSError as error:
            self.close()
            part.unlink(missing_ok=True)
            raise self._error(error) from error

    def _write(self, data: bytes) -> None:
        """Appends all of it, or nothing."""
        written = 0
        try:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the journal is closed")
            while written < len(data):
                count = os.write(self._fd, data[written:])
                if not count:
                    raise OSError(errno.ENOSPC, "nothing was written")
                written += count
        except OSError as error:
            failure = self._error(error)
            if written:
                failure = self._taken_back(written, failure)
            self.close()
            raise failure from error
        self.size += written

    def _taken_back(self, written: int, failure: JournalError) -> JournalError:
        """Cuts the end off that is no whole record; the failure says so where that fails too."""
        try:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_CUR) - written)
        except OSError as error:
            left = f"; its last {written} bytes are no whole record, and stay: {error.strerror}"
            return JournalError(failure.errno, f"{failure.strerror}{left}", str(self.path))
        return failure

    def _error(self, error: OSError) -> JournalError:
        if isinstance(error, JournalError):
            return error
        return JournalError(error.errno, f"journal: {error.strerror or error}", str(self.path))

    def _put_away(self, segment: Segment) -> None:
        put_away(self._state, segment, keep=self._keep)
