"""How long to wait before a worker that keeps dying is started again."""

from __future__ import annotations

from collections import defaultdict

SERVED = 1.0
"""Seconds after which a worker's death says nothing about the next one."""
FIRST, MOST = 0.25, 15.0
"""Seconds before the second of several starts in a row, doubled each time, and the longest wait."""


class Backoff:
    """Deaths in a row, place by place: the first costs no time, as does one after some service."""

    def __init__(self) -> None:
        self._in_a_row: dict[int, int] = defaultdict(int)

    def delay(self, place: int, *, served: float) -> float:
        """Seconds to wait before this place is filled again.

        Args:
            place: any number that names it.
            served: seconds for which it was filled with a worker that was ready.
        """
        self._in_a_row[place] = 1 if served >= SERVED else self._in_a_row[place] + 1
        deaths = self._in_a_row[place]
        return 0.0 if deaths == 1 else min(MOST, FIRST * 2.0 ** min(deaths - 2, 32))
