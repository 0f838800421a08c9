"""What decoders got wrong, chunk by chunk, in a file: any two can be paired, whenever they ran."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.accuracy.selection import Counted
from scripts.benchmarks.lines import add_lines, read_lines

__all__ = ["Paired", "WrongShots", "WrongShotsFile", "paired"]


@dataclass(frozen=True, eq=False)
class WrongShots:
    """One decoder on the decoded shots of a chunk.

    Attributes:
        counted: shots of the chunk.
        wrong: bool `(B,)`: which of those that were decoded are wrong, doubtful shots first.
    """

    counted: Counted
    wrong: np.ndarray

    @property
    def errors(self) -> tuple[int, int]:
        """Of doubtful shots, and of others."""
        return _by_kind(self.wrong, self.counted)


@dataclass(frozen=True)
class Paired:
    """Two decoders on the same shots: errors of each, and shots that only one gets wrong.

    All are pairs: of doubtful shots, and of others that were decoded; see `Counted`.
    """

    one: tuple[int, int] = (0, 0)
    other: tuple[int, int] = (0, 0)
    only_one: tuple[int, int] = (0, 0)
    only_other: tuple[int, int] = (0, 0)

    def __add__(self, more: Paired) -> Paired:
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return Paired(*((a[0] + b[0], a[1] + b[1]) for a, b in pairs))


def paired(one: WrongShots, other: WrongShots) -> Paired:
    """Counts of one chunk.

    Raises:
        ValueError: they are not of the same shots.
    """
    if one.counted != other.counted:
        raise ValueError(f"{one.counted} and {other.counted} are not the same shots")
    counts = (one.wrong, other.wrong, one.wrong & ~other.wrong, other.wrong & ~one.wrong)
    return Paired(*(_by_kind(wrong, one.counted) for wrong in counts))


class WrongShotsFile:
    """A file to which lines are added, each of what one decoder got wrong in one chunk."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._found = {_key(row["chunk"]): row for row in read_lines(path)}

    def get(self, chunk: dict[str, Any]) -> WrongShots | None:
        """What a decoder got wrong in a chunk, if it was decoded.

        Args:
            chunk: all that the result depends on, plain data.
        """
        row = self._found.get(_key(chunk))
        if row is None:
            return None
        counted = Counted(*row["counted"])
        wrong = np.zeros(counted.doubtful + counted.others, dtype=bool)
        wrong[row["wrong"]] = True
        return WrongShots(counted, wrong)

    def add(self, chunk: dict[str, Any], result: WrongShots) -> None:
        """Keep it."""
        row = {
            "chunk": chunk,
            "counted": list(vars(result.counted).values()),
            "wrong": np.flatnonzero(result.wrong).tolist(),
        }
        add_lines(self._path, row)
        self._found[_key(chunk)] = row


def _by_kind(wrong: np.ndarray, counted: Counted) -> tuple[int, int]:
    return int(wrong[: counted.doubtful].sum()), int(wrong[counted.doubtful :].sum())


def _key(chunk: dict[str, Any]) -> str:
    return json.dumps(chunk, sort_keys=True)
