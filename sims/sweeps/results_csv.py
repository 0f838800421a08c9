"""Reading sinter's CSV, with errors that name the line and say how to mend it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import sinter

from qec import naming, output_file

_COLUMNS = [name.strip() for name in sinter.CSV_HEADER.split(",")]


class ResultsFileError(ValueError):
    """A results CSV that was cut off, was edited wrongly, or is not sinter's."""


def read_results(path: Path) -> dict[str, sinter.TaskStats]:
    """Totals of the sinter CSV at `path` by strong id, rows of one task added.

    Raises `ResultsFileError` where sinter would count a damaged row as if it were whole, or glue the
    next row to one that was cut off.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a byte-order mark
    except UnicodeDecodeError as error:
        raise ResultsFileError(
            f"{path} is not a text file in UTF-8 (byte {error.start}); give a CSV that qecpipe sweep wrote"
        ) from None
    lines = text.splitlines()
    if not lines or [name.strip() for name in lines[0].split(",")] != _COLUMNS:
        found = f"starts with {lines[0][:60]!r}" if lines else "is empty"
        raise ResultsFileError(
            f"{path}, line 1: not a sinter results file: it {found} instead of the header "
            f"{','.join(_COLUMNS)!r}; move it away or choose another file"
        )
    if not text.endswith("\n"):
        raise _damaged(path, len(lines), f"the row is cut off after {len(lines[-1])} characters")
    totals: dict[str, sinter.TaskStats] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        stats = _parse_row(path, number, line)
        try:
            totals[stats.strong_id] = totals[stats.strong_id] + stats if stats.strong_id in totals else stats
        except ValueError:
            reason = f"the row contradicts an earlier one of the same strong_id {stats.strong_id[:12]}..."
            raise _damaged(path, number, reason) from None
    return totals


class ResultsWriter:
    """Appends rows to a sinter CSV, each whole or not at all; a context manager that closes the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming(path):
            self._file = path.open("ab", buffering=0)
            if self._file.tell() == 0:
                self._append_line(sinter.CSV_HEADER)

    def append(self, stats: sinter.TaskStats) -> None:
        """Write one row. Raises OSError, with the path, where the disk is full."""
        with naming(self._path):
            self._append_line(stats.to_csv_line())

    def _append_line(self, line: str) -> None:
        """A row that does not fit is taken back, so that the file can be resumed."""
        data = f"{line}\n".encode()
        start = self._file.tell()
        try:
            while data:  # a full disk takes a part, and says so at the next write
                data = data[self._file.write(data) :]
        except OSError:
            if self._file.seekable():
                self._file.truncate(start)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def write_results(rows: Iterable[sinter.TaskStats], path: Path) -> None:
    """Write rows as a CSV of sinter's, complete or not at all, in place of what was there."""
    with output_file(path) as unfinished:
        unfinished.write_text("\n".join([sinter.CSV_HEADER, *(row.to_csv_line() for row in rows)]) + "\n")


def _parse_row(path: Path, number: int, line: str) -> sinter.TaskStats:
    try:
        fields = next(csv.reader([line], strict=True))
        if len(fields) != len(_COLUMNS):
            raise _damaged(path, number, f"the row has {len(fields)} columns instead of {len(_COLUMNS)}")
        _require_counts(dict(zip(_COLUMNS, fields, strict=True)))
        (stats,) = sinter.read_stats_from_csv_files(io.StringIO(f"{sinter.CSV_HEADER}\n{line}\n"))
    except ResultsFileError:
        raise
    except (ValueError, TypeError, AssertionError, AttributeError, csv.Error) as error:
        why = str(error) or "a count is not a whole number of at least 0"
        reason = f"the row does not parse ({why})"
        raise _damaged(path, number, reason) from error
    return stats


def _require_counts(row: dict[str, str]) -> None:
    """Raise ValueError, with the value, for counts that cannot be; sinter asserts them without a word."""
    shots, errors, discards = (int(row[name]) for name in ("shots", "errors", "discards"))
    if min(shots, errors, discards) < 0 or errors + discards > shots:
        raise ValueError(f"{shots} shots, {errors} errors, {discards} discards")
    if not 0 <= float(row["seconds"]) < math.inf:
        raise ValueError(f"{row['seconds']} seconds")


def _damaged(path: Path, number: int, reason: str) -> ResultsFileError:
    return ResultsFileError(
        f"{path}, line {number}: {reason}; delete that line (sed -i '{number}d' {path}) and run again: "
        "its shots are taken anew"
    )


def merge_results(files: Iterable[dict[str, sinter.TaskStats]]) -> list[sinter.TaskStats]:
    """Totals over several files, as `read_results` gives them, in the order of their first rows."""
    totals: dict[str, sinter.TaskStats] = {}
    for file in files:
        for strong_id, stats in file.items():
            totals[strong_id] = totals[strong_id] + stats if strong_id in totals else stats
    return list(totals.values())
