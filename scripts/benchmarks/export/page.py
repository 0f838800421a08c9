"""docs/results/export.md and .json: tables of several kinds of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.results import (
    about_run,
    markdown_table,
    replace_rows,
    sorted_rows,
    write_json,
    write_table,
)

__all__ = ["PAGE", "update_page"]

PAGE = Path(__file__).parents[3] / "docs" / "results" / "export.md"


def update_page(kind: str, new: Sequence[dict[str, Any]], *, key: Sequence[str]) -> None:
    """Put rows of a kind in the place of those with the same key, and write the kind's table anew.

    Args:
        kind: 'speed' or 'ler'.
    """
    data = PAGE.with_suffix(".json")
    kinds = json.loads(data.read_text(encoding="utf-8")) if data.exists() else {}
    rows = replace_rows(kinds.get(kind, []), new, key=key, about=about_run())
    kinds[kind] = sorted_rows(rows, key=key)
    write_json(data, kinds)
    write_table(PAGE, _TABLES[kind](kinds[kind]))


def _speed_table(rows: list[dict[str, Any]]) -> str:
    key = ("weights", "distance", "precision", "runtime")
    columns = (
        "weights",
        "d",
        "precision",
        "runtime",
        "one shot, µs a round",
        "batch, µs a round",
        "of shots",
    )
    fields = (*key, "single_us", "batch_us", "batch_shots")
    ordered = sorted(rows, key=lambda row: [row[field] for field in key])
    return markdown_table(columns, ([_shown(row[field]) for field in fields] for row in ordered))


def _ler_table(rows: list[dict[str, Any]]) -> str:
    columns = (
        "file",
        "run by",
        "d",
        "shots",
        "errors of engine",
        "of file",
        "only engine wrong",
        "only file wrong",
    )
    fields = (
        "file",
        "runtime",
        "distance",
        "shots",
        "engine_errors",
        "errors",
        "only_engine",
        "only_exported",
    )
    columns = (*columns, "LER ratio to engine", "residuals that differ", "not settled")
    fields = (*fields, "ratio", "different", "unsettled")
    ordered = sorted(rows, key=lambda row: (row["file"], row["distance"], row["runtime"]))
    return markdown_table(columns, ([_shown(row[field]) for field in fields] for row in ordered))


_TABLES: dict[str, Callable[[list[dict[str, Any]]], str]] = {"speed": _speed_table, "ler": _ler_table}


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
