"""The state folder: who may use it, what lies where, and what is deleted when there is too much of it.

    lock        held by the server, and by its processes, for as long as one of them lives
    models/     texts of circuits and error models, by their SHA-256
    journal/    journals of streams that can be resumed; nothing else
    tables/     what was built from models, and can be built again
    archive/    journals that no resume needs any more
    damaged/    copies of what was found damaged, for whoever looks into it
    run/        what processes of the server tell it in files; of no use once it has ended

Files under tables/, archive/ and damaged/ may be deleted by hand at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("decoder_service")
PART = ".part"
"""Suffix of a file that is being written; it gets its name once it is whole."""
LOCK_PATIENCE = 5.0
"""Seconds that the processes of a server that was killed may take to end."""
_RETRY = 0.05


class StateFolder(NamedTuple):
    """The folder and its parts; nothing is created by naming them."""

    path: Path

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def journals(self) -> Path:
        return self.path / "journal"

    @property
    def archive(self) -> Path:
        return self.path / "archive"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def damaged(self) -> Path:
        return self.path / "damaged"

    def lock(self, patience: float = LOCK_PATIENCE) -> int:
        """Takes the folder for this server, creates its parts, and clears what a crash left half written.

        Returns the descriptor that holds the lock: the folder is free once every process that has it is gone.

        Raises:
            ValueError: another server uses the folder, or it is not ours alone.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owned(self.path)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _take(lock, self.path, patience)
            shutil.rmtree(self.run, ignore_errors=True)
            for part in (self.models, self.journals, self.tables, self.archive, self.damaged, self.run):
                part.mkdir(mode=0o700, exist_ok=True)
                _check_owned(part)
                for unfinished in part.glob(f"*{PART}"):
                    unfinished.unlink(missing_ok=True)
        except BaseException:
            os.close(lock)
            raise
        return lock


def _take(lock: int, folder: Path, patience: float) -> None:
    """Locks, waiting for the processes of a server that just ended; notes who has the lock."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_RETRY)
                continue
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ValueError(
                f"the state folder {folder} is used by the server with process number {owner}; "
                "stop it, or give another --state"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return


def _check_owned(folder: Path) -> None:
    """Raises ValueError for a folder that is not ours, or that everyone can write to."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{folder} is not a folder; the state needs one")
    if status.st_uid != os.geteuid():
        raise ValueError(
            f"the state folder {folder} belongs to user {status.st_uid}, not to {os.geteuid()}; "
            "give a folder of your own"
        )
    if status.st_mode & 0o002:
        raise ValueError(f"everyone can write to the state folder {folder}; chmod o-w it")


def set_aside(path: Path, damaged: Path) -> Path:
    """Keeps a damaged file, as it is, under a name of its own in `damaged`; returns that name."""
    damaged.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in itertools.count():
        kept = damaged / f"{path.name}.{number}"
        try:
            os.link(path, kept, follow_symlinks=False)  # its content never changes: a second name is a copy
        except FileExistsError:
            if os.path.samefile(path, kept):
                return kept
            continue
        except OSError:  # a file system without links
            if kept.exists():
                continue
            shutil.copy2(path, kept)
        return kept
    raise AssertionError("unreachable")


class Retention(NamedTuple):
    """How much the state folder may hold.

    Args:
        max_bytes: of journals, tables, archive and damaged files together.
        max_age: seconds since a file was last written to.
    """

    max_bytes: float
    max_age: float

    def sweep(self, state: StateFolder, *, live: Collection[str]) -> list[Path]:
        """Deletes what is too old, then the oldest until the rest fits; returns what was deleted.

        What no resume needs goes first; then journals whose session, the part of the name before the first
        dash, is not in `live`.
        """
        spare = sorted(itertools.chain(*map(_files, (state.tables, state.archive, state.damaged))))
        journals = sorted(_files(state.journals))
        resting = [file for file in journals if file.path.name.partition("-")[0] not in live]
        total = sum(file.size for file in itertools.chain(spare, journals))
        oldest = time.time() - self.max_age
        deleted: list[Path] = []
        for file in itertools.chain(spare, resting):
            if file.written < oldest or total > self.max_bytes:
                file.path.unlink(missing_ok=True)
                deleted.append(file.path)
                total -= file.size
        return deleted


class _File(NamedTuple):
    written: float
    path: Path
    size: int


def _files(folder: Path) -> Iterator[_File]:
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield _File(status.st_mtime, path, status.st_size)
