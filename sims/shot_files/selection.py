"""From files of shots to moments: which shots are used, and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from noise_learning import BlockLog, Subsets
from qec import ShotFileError

Which = Literal["all", "even", "odd"]


@dataclass(frozen=True)
class ShotSelection:
    """Which shots are learned from; indices count from 0 through all files in their order.

    Attributes:
        which: all, or those with even or odd index.
        start, stop: first index, and the one after the last; None for the end.

    Raises:
        ValueError: start negative, or stop not after it.
    """

    which: Which = "all"
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"start={self.start} is before the first shot; count from 0")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(
                f"shots from {self.start} up to, not including, {self.stop} are none; stop after the start"
            )

    def __str__(self) -> str:
        """Such as 'even shots from 100 to 5000'."""
        bounds = "" if self.start == 0 and self.stop is None else f" from {self.start}"
        bounds += "" if self.stop is None else f" to {self.stop - 1}"
        return f"{self.which} shots{bounds}"

    def of(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The selected rows of consecutive chunks of shots."""
        seen = 0
        for chunk in chunks:
            index = np.arange(seen, seen + len(chunk))
            seen += len(chunk)
            keep = index >= self.start
            if self.stop is not None:
                keep &= index < self.stop
            if self.which != "all":
                keep &= index % 2 == (self.which == "odd")
            yield chunk[keep]
            if self.stop is not None and seen >= self.stop:
                return


def count_blocks(
    chunks: Iterable[np.ndarray],
    subsets: Subsets,
    *,
    selection: ShotSelection,
    on_chunk: Callable[[int], None] = lambda shots: None,
) -> BlockLog:
    """Counts the moments of the selected shots, which need not fit into memory.

    Args:
        chunks: uint8 (shots, ceil(num_detectors / 8)), little-endian bits, each read before the next.
        on_chunk: is given the number of selected shots so far.

    Raises:
        ShotFileError: no shot is selected.
    """
    log = BlockLog(subsets)
    for chunk in selection.of(chunks):
        log.add(chunk)
        on_chunk(log.shots)
    if not log.shots:
        raise ShotFileError(
            f"no shot of the files is selected ({selection}); give more shots or another selection"
        )
    return log
