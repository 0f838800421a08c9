"""Files of JSON lines, one for each part that a benchmark is done with: a killed run goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["add_lines", "read_lines"]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none where there is no file; a line that a killed run left unfinished is none."""
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def add_lines(path: Path, *rows: dict[str, Any]) -> None:
    """Adds rows in one piece, in place of a line that a killed run left unfinished."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with path.open("a+b", buffering=0) as file:
        file.seek(0)
        before = file.read()
        whole = before.rfind(b"\n") + 1
        if whole < len(before):
            file.truncate(whole)
        file.write(data)
