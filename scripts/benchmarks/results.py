"""Tables in `docs/results/`, written by the benchmarks that measured them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["with_table", "write_table"]


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
