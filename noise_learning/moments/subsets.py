"""Sets of detectors whose parity is counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import scipy.sparse as sp

# 2^8 - 1 subsets of one mechanism; circuit noise on the surface code needs 2^4 - 1.
MAX_SET_SIZE = 8


@dataclass(frozen=True, eq=False)
class Subsets:
    """Distinct nonempty sets of detectors, by size, then lexicographic.

    Attributes:
        members: int32 (subsets, largest size): a set's detectors, ascending, padded with `num_detectors`.
        num_detectors: detectors of a shot.
    """

    members: np.ndarray
    num_detectors: int

    @classmethod
    def of_sets(cls, sets: Iterable[Sequence[int]], *, num_detectors: int) -> Subsets:
        """All nonempty subsets of all the given sets (ascending detectors).

        Raises:
            ValueError: a set has more than MAX_SET_SIZE detectors.
        """
        found: set[tuple[int, ...]] = set()
        for detectors in sets:
            if len(detectors) > MAX_SET_SIZE:
                raise ValueError(
                    f"a mechanism flips {len(detectors)} detectors ({list(detectors)[:MAX_SET_SIZE]}...), "
                    f"and its moments need 2^{len(detectors)} parities; at most {MAX_SET_SIZE} are "
                    "supported: learn from a circuit whose mechanisms are more local"
                )
            for size in range(1, len(detectors) + 1):
                found.update(combinations(detectors, size))
        ordered = sorted(found, key=lambda s: (len(s), s))
        widest = max((len(s) for s in ordered), default=1)
        members = np.full((len(ordered), widest), num_detectors, dtype=np.int32)
        for row, subset in zip(members, ordered, strict=True):
            row[: len(subset)] = subset
        return cls(members, num_detectors)

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def sizes(self) -> np.ndarray:
        """int64 (subsets,): detectors of each."""
        return (self.members < self.num_detectors).sum(axis=1)

    @cached_property
    def index(self) -> dict[tuple[int, ...], int]:
        """Row of each set."""
        return {self.detectors(k): k for k in range(len(self))}

    @cached_property
    def incidence(self) -> sp.csr_matrix:
        """float32 0/1 (subsets, num_detectors)."""
        inside = self.members < self.num_detectors
        rows = np.nonzero(inside)[0]
        return sp.csr_matrix(
            (np.ones(len(rows), dtype=np.float32), (rows, self.members[inside])),
            shape=(len(self), self.num_detectors),
        )

    @cached_property
    def digest(self) -> str:
        """Equal for equal sets, so that moments of other sets are not added by mistake."""
        return hashlib.sha256(f"{self.num_detectors}:".encode() + self.members.tobytes()).hexdigest()

    def detectors(self, row: int) -> tuple[int, ...]:
        """The detectors of one set."""
        return tuple(int(d) for d in self.members[row, : self.sizes[row]])


def incidence(sets: Sequence[Sequence[int]], *, columns: int) -> sp.csr_matrix:
    """float32 0/1 (sets, columns): 1 where a set has that element."""
    rows = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    elements = np.fromiter((d for s in sets for d in s), dtype=np.int64, count=len(rows))
    return sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, elements)), shape=(len(sets), columns))
