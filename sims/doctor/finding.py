"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """A topic, what was found, and whether it needs attention."""

    section: str
    name: str
    value: str
    level: Level = "ok"
