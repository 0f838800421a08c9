"""Rows that were measured, in `streaming.json`, and their tables in `streaming.md`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.results import about_run, markdown_table, replace_rows, write_json, write_table
from scripts.benchmarks.streaming import targets
from scripts.benchmarks.streaming.render import RENDER

__all__ = ["Done", "measured_before", "write_results"]

KEYS = {
    "periods": ("name", "where"),
    "overhead": ("name",),
    "streams": ("name",),
    "ler": ("name", "p"),
    "gap": ("name",),
    "account": ("name", "where"),
}
Done = Callable[[str, tuple[object, ...]], bool]
"""Whether a table has a row with this key already."""


def measured_before(folder: Path, size: str) -> Done:
    """What `streaming.json` has of this commit, this processor and a size."""
    data = folder / "streaming.json"
    tables: dict[str, list[dict[str, Any]]] = json.loads(data.read_text()) if data.exists() else {}
    here = _version(about_run() | {"size": size})

    def done(table: str, key: tuple[object, ...]) -> bool:
        rows = tables.get(table, ())
        return any(
            tuple(row[name] for name in KEYS[table]) == key and _version(row["measured"]) == here
            for row in rows
        )

    return done


def _version(about: dict[str, Any]) -> tuple[object, ...]:
    """What rows have to agree in; results that were written since the commit change nothing."""
    return about["revision"].removesuffix("-dirty"), about["processor"], about.get("size")


def write_results(found: Sequence[tuple[str, dict[str, Any]]], folder: Path, *, size: str = "") -> list[Path]:
    """Put rows in place of those with the same names, and their tables into the page; returns both paths."""
    data, page = folder / "streaming.json", folder / "streaming.md"
    tables: dict[str, list[dict[str, Any]]] = json.loads(data.read_text()) if data.exists() else {}
    about = about_run() | {"size": size, "real_time": targets.ALONE}
    for table, row in found:
        tables[table] = replace_rows(tables.get(table, ()), [row], key=KEYS[table], about=about)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(data, tables)
    for table, rows in tables.items():
        write_table(page, RENDER[table](rows))
    write_table(page, _render_measured(tables))
    return [data, page]


def _render_measured(tables: dict[str, list[dict[str, Any]]]) -> str:
    """How many rows of each table are of which revision, machine and size."""
    columns = ("rows above", "revision", "processor", "a core each, real-time priority", "size")
    found = Counter(
        (table, about["revision"], about["processor"], about["real_time"], about["size"])
        for table, rows in tables.items()
        for about in (row["measured"] for row in rows)
    )
    return markdown_table(
        columns,
        (
            [f"{count} of {table}", revision, processor, "yes" if alone else "no", size]
            for (table, revision, processor, alone, size), count in found.items()
        ),
    )
