"""The files of flags: reading them with errors that name file and fix, and where results may go."""

from __future__ import annotations

import codecs
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import stim

from qec import SHOT_FORMATS, ShotFormat, output_file, refuse_inputs

Model = TypeVar("Model", stim.Circuit, stim.DetectorErrorModel)

_REASON_CHARACTERS = 200


def shot_format(path: Path, given: ShotFormat | None, flag: str) -> ShotFormat:
    """The format of a shot file: what `flag` says, else the suffix of `path`."""
    suffix = path.suffix.removeprefix(".")
    if given is None and suffix not in SHOT_FORMATS:
        raise ValueError(
            f"the suffix of {str(path)!r} is no shot format; add {flag} with one of {', '.join(SHOT_FORMATS)}"
        )
    return given or cast(ShotFormat, suffix)


def check_inputs(*files: str | Path | None) -> None:
    """Raise OSError, before anything else is looked at, for the first file that is not there or is a folder.

    Each verb begins with it. None stands for a flag that was left out.
    """
    for path in (Path(file) for file in files if file is not None):
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 or, with a byte-order mark as Windows writes it, UTF-16.

    Raises ValueError, with the file's name, for anything else.
    """
    data = path.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not a text file in UTF-8 (byte {error.start} is {data[error.start]:#04x}); "
            "save it as UTF-8, or give the file that was meant"
        ) from None


def parse_stim(path: Path, kind: type[Model], name: str) -> Model:
    """The circuit or detector error model (called `name` in an error) that a text file holds."""
    text = read_text(path)
    try:
        return kind(text)
    except (ValueError, IndexError) as error:  # IndexError: what Stim raises for an unknown DEM instruction
        raise ValueError(f"{path} is not a Stim {name} ({first_sentence(error)}); check the file") from error


def first_sentence(error: Exception) -> str:
    """What an error of Stim's says first; its advice on pictures and its long targets are left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    reason = reason.removesuffix(".")
    return reason if len(reason) <= _REASON_CHARACTERS else reason[:_REASON_CHARACTERS] + "..."


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Begin a ValueError about the content of `path` with its name."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


def check_output_folder(
    out: Path, files: Iterable[str] = (), *, flag: str = "--out", inputs: Iterable[str | Path | None] = ()
) -> None:
    """Raise, before any work is done, where `files` cannot go into folder `out` or would be inputs."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{flag} {out} is a file; give a folder")
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))
    refuse_inputs([out / name for name in files], inputs)


def check_output_file(out: Path, *, flag: str = "--out", inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise, before any work is done, where `out` is a folder, cannot be made or is an input."""
    if out.is_dir():
        raise ValueError(f"{flag} {out} is a folder; give a file")
    if not out.exists():
        check_output_folder(out.parent, flag=f"the folder of {flag}")
    refuse_inputs([out], inputs)


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A folder to write results into, whose files are in `out` when the block ends without an error.

    An error leaves `out` as it was, and not there if it was not. Files in `out` of other names stay.
    """
    real = Path(os.path.realpath(out))
    real.parent.mkdir(parents=True, exist_ok=True)
    unfinished = real.with_name(f".{real.name}.{os.getpid()}.part")
    unfinished.mkdir()
    try:
        yield unfinished
        real.mkdir(exist_ok=True)
        for file in sorted(unfinished.iterdir()):
            with output_file(out / file.name) as complete:
                shutil.copyfile(file, complete)
    finally:
        shutil.rmtree(unfinished)
