"""What several packages ask of files: their content by a hash, and that nobody else uses them."""

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, *, busy: str) -> Iterator[None]:
    """Hold the lock file `path`; the operating system lets it go however this process ends.

    Raises:
        ValueError: another process holds it; with the text `busy`.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(busy) from None
        yield
