"""What one shot of a stream looks like on the wire, and the order of its data frames."""

from __future__ import annotations

import bisect
import dataclasses
import itertools

_MOST_LISTED = 4096
"""Rounds whose widths are looked up in a list."""


@dataclasses.dataclass(frozen=True)
class StreamShape:
    """Rounds of a shot and their widths.

    A shot is `rounds` ROUND frames, sequence 0 to rounds - 1, and one FINAL with sequence `rounds`. All
    data frames of a stream stand in one line: frame `sequence` of shot `epoch` has the ordinal
    `epoch * (rounds + 1) + sequence`.

    Args:
        layers: runs of (number of rounds, bits of each), in order; together `rounds`.
        final_bits: bits of FINAL.
        num_observables: Pauli-frame bits of COMMIT and RESULT.
        commit: rounds between window boundaries.
    """

    layers: tuple[tuple[int, int], ...]
    final_bits: int
    num_observables: int
    commit: int = 1

    def __post_init__(self) -> None:
        if not self.layers or any(count < 1 or bits < 0 for count, bits in self.layers):
            raise ValueError(f"layers are {self.layers}; each needs at least one round and no negative bits")
        if self.final_bits < 0 or self.num_observables < 0 or self.commit < 1:
            raise ValueError(
                f"{self.final_bits=}, {self.num_observables=} must not be negative, {self.commit=} at least 1"
            )
        ends = tuple(itertools.accumulate(count for count, _ in self.layers))
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "rounds", ends[-1])
        runs = itertools.chain.from_iterable(itertools.repeat(bits, count) for count, bits in self.layers)
        object.__setattr__(self, "_listed", tuple(itertools.islice(runs, _MOST_LISTED)))

    rounds: int = dataclasses.field(init=False)
    _ends: tuple[int, ...] = dataclasses.field(init=False, repr=False)
    _listed: tuple[int, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def bits(self, sequence: int) -> int:
        """Bits of the data frame with this sequence, in [0, rounds]; `rounds` is FINAL."""
        if sequence == self.rounds:
            return self.final_bits
        if sequence < len(self._listed):
            return self._listed[sequence]
        return self.layers[bisect.bisect_right(self._ends, sequence)][1]

    def ordinal(self, epoch: int, sequence: int) -> int:
        """Place of a data frame in the stream's line of data frames."""
        return epoch * (self.rounds + 1) + sequence

    def place(self, ordinal: int) -> tuple[int, int]:
        """(epoch, sequence) of an ordinal."""
        return divmod(ordinal, self.rounds + 1)
