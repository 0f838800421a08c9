"""Tables in `docs/results/`, written by the benchmarks that measured them."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from qec import output_file
from sims.doctor.machine import about_machine

__all__ = [
    "about_run",
    "markdown_table",
    "replace_rows",
    "sorted_rows",
    "update_results",
    "with_table",
    "write_json",
    "write_table",
]


def with_table(text: str, table: str) -> str:
    """A page in which the table with this header row is replaced; it comes last where the page has none."""
    header = table.splitlines()[0]
    lines = text.splitlines()
    if header not in lines:
        return f"{text.rstrip()}\n\n{table}\n".lstrip()
    start = stop = lines.index(header)
    while stop < len(lines) and lines[stop].startswith("|"):
        stop += 1
    return "\n".join([*lines[:start], *table.splitlines(), *lines[stop:]]) + "\n"


def write_table(page: Path, table: str) -> None:
    """Writes a table into a page; what else the page says stays."""
    page.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(with_table(text, table), encoding="utf-8")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of a header and rows."""
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def about_run() -> dict[str, Any]:
    """Where and when numbers are measured: processor, cores, versions, date, revision of the sources."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        revision = "unknown"
    return about_machine() | {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision,
    }


def replace_rows(
    rows: Iterable[dict[str, Any]],
    new: Iterable[dict[str, Any]],
    *,
    key: Sequence[str],
    about: dict[str, Any],
) -> list[dict[str, Any]]:
    """Rows on file with new ones, each in the place of the one with the same values of `key`, or after all.

    Args:
        rows: on file; those that are older than a column of the key have nothing there.
        about: what the new ones were measured on, `about_run` and more.
    """
    by_key = {tuple(row.get(column, "") for column in key): row for row in rows}
    by_key |= {tuple(row[column] for column in key): row | {"measured": about} for row in new}
    return list(by_key.values())


def sorted_rows(rows: Iterable[dict[str, Any]], *, key: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by the columns of a key, numbers by their size; see `replace_rows`."""
    return sorted(rows, key=lambda row: [_in_order(row.get(column, "")) for column in key])


def _in_order(value: object) -> tuple[bool, float, str]:
    """Sorts numbers by their size, before what is none."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, "" if number else str(value))


def write_json(path: Path, content: object) -> None:
    """Write a file whole or not at all."""
    with output_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def update_results(
    folder: Path,
    name: str,
    new: Iterable[dict[str, Any]],
    *,
    key: Sequence[str],
    render: Callable[[list[dict[str, Any]]], str],
) -> list[Path]:
    """Put rows into NAME.json of a folder, and the table of all its rows into NAME.md; returns both paths.

    Args:
        new, key: see `replace_rows`; all rows are sorted by the key, numbers by their size.
        render: the Markdown table of all rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / f"{name}.json", folder / f"{name}.md"
    rows = json.loads(data.read_text(encoding="utf-8")) if data.exists() else []
    rows = sorted_rows(replace_rows(rows, new, key=key, about=about_run()), key=key)
    write_json(data, rows)
    write_table(page, render(rows))
    return [data, page]
