"""How often a batch is used: mined shots cost several times what a step costs."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Reuse"]


@dataclass(frozen=True)
class Reuse:
    """Every batch is used `passes` times, far apart: fresh ones and those of a pool of older ones take turns.

    A round takes one fresh batch, and of the older ones those that are 1, 2, ... `passes` - 1 times `spacing`
    older than it, as far as there are any: so training begins with fresh batches alone. With one pass, step k
    takes batch k.

    Attributes:
        passes: uses of a batch.
        pool: batches that are held at most, `passes` or more.
    """

    passes: int
    pool: int = 64

    @property
    def spacing(self) -> int:
        """Rounds from one use of a batch to the next."""
        return max(1, (self.pool - 1) // max(1, self.passes - 1))

    @property
    def span(self) -> int:
        """Batches from the oldest to the newest that a round may use."""
        return (self.passes - 1) * self.spacing + 1

    def batch_of(self, step: int) -> int:
        """The batch that a step uses."""
        number = self.round_of(step)
        return number - (step - self.first_use(number)) * self.spacing

    def round_of(self, step: int) -> int:
        """The round that a step belongs to: its fresh batch, the newest that is used until then."""
        beyond = step - self._first_uses[-1]
        if beyond >= 0:
            return len(self._first_uses) - 1 + beyond // self.passes
        return bisect_right(self._first_uses, step) - 1

    def first_use(self, batch: int) -> int:
        """The first step that uses a batch."""
        full = len(self._first_uses) - 1
        return self._first_uses[min(batch, full)] + max(0, batch - full) * self.passes

    def oldest(self, step: int) -> int:
        """The oldest batch that a step, or one after it, may still use."""
        return max(0, self.round_of(step) - self.span + 1)

    @cached_property
    def _first_uses(self) -> list[int]:
        """First steps of the rounds until each is as long as all that follow."""
        steps = [0]
        for number in range(self.span - 1):
            steps.append(steps[-1] + 1 + number // self.spacing)
        return steps
