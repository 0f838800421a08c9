"""Our warnings as plain lines on stderr, each once in a run, however many processes find the same."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

__all__ = ["PlainWarnings", "plain_warnings"]

_OURS = ("decoder_service", "global_decoders", "noise_learning", "predecoder", "qec", "sims")
"""Packages whose categories of warnings are shown so; those of other libraries keep file and line."""


@dataclass(frozen=True)
class PlainWarnings:
    """Shows warnings; can be pickled, for worker processes to `install` it too.

    `folder` has an empty file for every text that was shown, by whichever process came first.
    """

    prefix: str
    folder: Path

    def install(self) -> None:
        """Show this process's warnings from now on."""
        show = warnings.showwarning

        def plain(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__.partition(".")[0] not in _OURS:
                show(message, category, filename, lineno, file, line)
            elif self._is_first(str(message)):
                print(f"{self.prefix}: {' '.join(str(message).split())}", file=file or sys.stderr)

        warnings.showwarning = plain

    def _is_first(self, text: str) -> bool:
        try:
            (self.folder / hashlib.sha256(text.encode()).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            return False
        except FileNotFoundError:  # a worker's last words, after the run has ended, and with it the folder
            pass
        return True


@contextmanager
def plain_warnings(prefix: str) -> Iterator[PlainWarnings]:
    """Show our warnings as lines that begin with `prefix`, until the block ends."""
    before = warnings.showwarning
    with tempfile.TemporaryDirectory(prefix="qecpipe-") as folder:
        shown = PlainWarnings(prefix, Path(folder))
        shown.install()
        try:
            yield shown
        finally:
            warnings.showwarning = before
