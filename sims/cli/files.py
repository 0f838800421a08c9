"""The files of flags: reading them with errors that name file and fix, and writing whole folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import stim

from qec import SHOT_FORMATS, ShotFormat

Model = TypeVar("Model", stim.Circuit, stim.DetectorErrorModel)


def shot_format(path: Path, given: ShotFormat | None, flag: str) -> ShotFormat:
    """The format of a shot file: what `flag` says, else the suffix of `path`."""
    suffix = path.suffix.removeprefix(".")
    if given is None and suffix not in SHOT_FORMATS:
        raise ValueError(
            f"the suffix of {path} is no shot format; add {flag} with one of {', '.join(SHOT_FORMATS)}"
        )
    return given or cast(ShotFormat, suffix)


def parse_stim(path: Path, kind: type[Model], name: str) -> Model:
    """The circuit or detector error model (called `name` in an error) that a text file holds."""
    try:
        return kind(path.read_text(encoding="utf-8"))
    except (ValueError, IndexError) as error:  # IndexError: what Stim raises for an unknown DEM instruction
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is not a Stim {name} ({reason}); check the file") from error


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A folder to write results into, whose files are in `out` when the block ends without an error.

    An error leaves `out` as it was, and not there if it was not. Files in `out` of other names stay.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    unfinished.mkdir()
    try:
        yield unfinished
        out.mkdir(exist_ok=True)
        for file in sorted(unfinished.iterdir()):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(unfinished)
