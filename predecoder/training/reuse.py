"""How often a batch is used: mined shots cost several times what a step costs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reuse"]

_POOL = 8
"""Batches that take turns until each has been used as often as it is to be."""


@dataclass(frozen=True)
class Reuse:
    """Batches 0 to 7 in turn, `passes` times, then 8 to 15, and so on; with one pass, batch k at step k."""

    passes: int

    @property
    def pool(self) -> int:
        """Number of batches that take turns."""
        return _POOL if self.passes > 1 else 1

    def batch_of(self, step: int) -> int:
        """The batch that a step uses."""
        return self._group(step) * self.pool + step % self.pool

    def first_use(self, batch: int) -> int:
        """The first step that uses a batch."""
        return batch // self.pool * self.pool * self.passes + batch % self.pool

    def group_start(self, step: int) -> int:
        """The first step whose batch `step`, or one after it, may still use."""
        return self._group(step) * self.pool * self.passes

    def _group(self, step: int) -> int:
        return step // (self.pool * self.passes)
