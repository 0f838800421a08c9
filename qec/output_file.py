"""Output files: complete or untouched, through links and devices, and never in place of an input."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_LINKS = 40
"""As many as Linux follows in one path."""


class OutputFileError(ValueError):
    """An output would replace an input, or is a kind of file that cannot hold it."""


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file, by device and inode; absent ones, by where their links end."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def refuse_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path | None]) -> None:
    """Raise `OutputFileError` where an output is an input under any name: a link, another spelling.

    Devices are exempt: what is read from /dev/stdin or a terminal is not replaced by writing there.
    """
    read = [Path(path) for path in inputs if path is not None]
    for output in outputs:
        if _is_device(Path(output)):
            continue
        for path in read:
            if is_same_file(output, path):
                raise OutputFileError(
                    f"the output {output} is the input {path}, which would be lost; give another output"
                )


@contextmanager
def output_file(path: str | Path, *, inputs: Iterable[str | Path | None] = ()) -> Iterator[Path]:
    """Give a path to write to, whose content is at `path` when the block ends without an error.

    A regular or absent file is replaced in one step, so that a reader finds the old content or the whole
    new one; an error leaves it as it was. Symbolic links are followed, never replaced. A device or pipe
    (`/dev/null`, `/dev/stdout`) is given as it is and written through.

    Args:
        inputs: files that are read meanwhile; None entries are skipped.

    Raises:
        OutputFileError: `path` is one of `inputs`, a folder or a socket.
        OSError: it cannot be written; the error names `path`, also where the disk is full.
    """
    asked = Path(path)
    refuse_inputs([asked], inputs)
    with naming(asked):
        if asked.is_dir():
            raise OutputFileError(f"the output {asked} is a folder; give a file")
        if asked.is_socket():
            raise OutputFileError(f"the output {asked} is a socket; give a file")
        if _is_device(asked):
            yield asked
            return
        if (descriptor := _descriptor(asked)) is not None:
            with tempfile.TemporaryDirectory() as folder:
                unfinished = Path(folder) / asked.name
                yield unfinished
                _send(unfinished, descriptor)
            return
        target = Path(os.path.realpath(asked))
        if target.is_symlink():
            raise OutputFileError(f"the output {asked} is a symbolic link that leads back to itself")
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            yield unfinished
            if target.exists():
                shutil.copymode(target, unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Have an OSError without a file name, as a full disk gives it, say that it was about `path`."""
    try:
        yield
    except OSError as error:
        unfinished = str(error.filename or "").endswith(".part")
        if error.errno is None or (error.filename is not None and not unfinished):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path means, as `/dev/stdout` and `/dev/fd/3` do."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder) / path.readlink()
    return None


def _send(content: Path, descriptor: int) -> None:
    """Write a file to an open descriptor, after what Python still holds for it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with content.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as sink:
        shutil.copyfileobj(source, sink)


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode)
