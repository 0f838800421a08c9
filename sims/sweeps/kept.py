"""Post-selection: how often decoders err on the shots that they are surest of.

A sweep with gaps counts, for every task, right and wrong shots by their gap, in `custom_counts`. What remains
when the least sure shots are discarded follows from the counts, for any fraction: only the gap says which
shots are discarded, so that rates of the kept ones are as unbiased as those of all.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import sinter

__all__ = ["GAP", "KEEP", "GapCounts", "kept_stats"]

GAP, KEEP = "gap", "keep"
"""Keys of `json_metadata`: that a row counts gaps, and what fraction of the shots a row keeps."""
_BINS_PER_NAT, _LEAST, _LARGEST = 25, -4, 30
_BINS = _BINS_PER_NAT * (_LARGEST - _LEAST) + 1
_RIGHT, _WRONG = "right_gap_", "wrong_gap_"


@dataclass(frozen=True, eq=False)
class GapCounts:
    """Shots by their gap, in steps of 0.04 nats from -4 to 30: int64 `(851,)` each. They add.

    Gaps beyond either end count as the end.
    """

    right: np.ndarray
    wrong: np.ndarray

    @property
    def middles(self) -> np.ndarray:
        """Gaps in the middle of each step, float64 `(851,)`."""
        return (np.arange(_BINS) + 0.5) / _BINS_PER_NAT + _LEAST

    @classmethod
    def of(cls, gap: np.ndarray, wrong: np.ndarray) -> GapCounts:
        """Count shots of gaps float `(B,)` in nats, and bool `(B,)`: which are decoded wrongly."""
        place = ((np.clip(gap, _LEAST, _LARGEST) - _LEAST) * _BINS_PER_NAT).astype(np.int64)
        return cls(np.bincount(place[~wrong], minlength=_BINS), np.bincount(place[wrong], minlength=_BINS))

    @classmethod
    def of_stats(cls, stats: sinter.TaskStats) -> GapCounts | None:
        """What a row of results has counted; None if it has not."""
        found = cls(np.zeros(_BINS, dtype=np.int64), np.zeros(_BINS, dtype=np.int64))
        for prefix, counts in ((_RIGHT, found.right), (_WRONG, found.wrong)):
            for name, count in stats.custom_counts.items():
                if name.startswith(prefix):
                    counts[int(name.removeprefix(prefix))] = count
        return found if found.right.any() or found.wrong.any() else None

    def __add__(self, other: GapCounts) -> GapCounts:
        return GapCounts(self.right + other.right, self.wrong + other.wrong)

    def custom_counts(self) -> collections.Counter[str]:
        """As sinter keeps them in its CSV; bins without shots are left out."""
        return collections.Counter(
            {
                f"{prefix}{k}": int(counts[k])
                for prefix, counts in ((_RIGHT, self.right), (_WRONG, self.wrong))
                for k in np.flatnonzero(counts)
            }
        )

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Shots that are kept, and how many of them are wrong, int64 `(851,)` each.

        The first is of all shots, each of those after it of shots with a larger gap.
        """
        kept = np.cumsum((self.right + self.wrong)[::-1])[::-1]
        return kept, np.cumsum(self.wrong[::-1])[::-1]

    def kept(self, fraction: float) -> tuple[int, int]:
        """Shots and errors when as many are discarded as leave at least a fraction of them."""
        kept, wrong = self.curve()
        last = int(np.flatnonzero(kept >= fraction * kept[0])[-1])
        return int(kept[last]), int(wrong[last])


def kept_stats(stats: Iterable[sinter.TaskStats], fractions: Iterable[float]) -> list[sinter.TaskStats]:
    """A row for every row that counted gaps and every fraction, with what is not kept as sinter's discards.

    Args:
        stats: of a sweep; those without gaps are passed over.
        fractions: to be kept, each in (0, 1].
    """
    rows = []
    for one in stats:
        counts = GapCounts.of_stats(one)
        for fraction in fractions if counts is not None else ():
            assert counts is not None
            kept, wrong = counts.kept(fraction)
            rows.append(
                sinter.TaskStats(
                    strong_id=hashlib.sha256(f"{one.strong_id} keep {fraction!r}".encode()).hexdigest(),
                    decoder=one.decoder,
                    json_metadata={**one.json_metadata, KEEP: fraction},
                    shots=one.shots,
                    errors=wrong,
                    discards=one.shots - kept,
                    seconds=one.seconds,
                )
            )
    return rows
