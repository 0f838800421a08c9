"""Where and when a detector is: (x, y, t, annotations ...)."""

from __future__ import annotations

from collections.abc import Sequence


def time_of(coordinates: Sequence[float]) -> float:
    """The third coordinate; of fewer than three, as of a repetition code's (x, t), the last."""
    return coordinates[min(2, len(coordinates) - 1)]


def position_of(coordinates: Sequence[float]) -> tuple[float, ...]:
    """The coordinates before time; those after it, such as a colour or a basis, are annotations."""
    return tuple(coordinates[: min(2, len(coordinates) - 1)])
