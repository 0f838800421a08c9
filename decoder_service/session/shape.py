"""What one shot of a stream looks like on the wire, and the order of its rows."""

from __future__ import annotations

import bisect
import dataclasses
import itertools

from decoder_service.protocol import COUNT_BYTES, packed_bytes

_MOST_LISTED = 4096
"""Rounds whose widths are looked up in a list."""


@dataclasses.dataclass(frozen=True)
class StreamShape:
    """Rounds of a shot and their widths.

    A shot is `rounds` rounds, sequence 0 to rounds - 1, and the final row with sequence `rounds`. All
    rows of a stream stand in one line: row `sequence` of shot `epoch` has the ordinal
    `epoch * (rounds + 1) + sequence`.

    Args:
        layers: runs of (number of rounds, bits of each), in order; together `rounds`.
        final_bits: bits of the final row.
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
        sizes = (count * packed_bytes(bits) for count, bits in self.layers)
        object.__setattr__(self, "_bytes_before", tuple(itertools.accumulate(sizes, initial=0)))
        runs = itertools.chain.from_iterable(itertools.repeat(bits, count) for count, bits in self.layers)
        object.__setattr__(self, "_listed", tuple(itertools.islice(runs, _MOST_LISTED)))

    rounds: int = dataclasses.field(init=False)
    _ends: tuple[int, ...] = dataclasses.field(init=False, repr=False)
    _bytes_before: tuple[int, ...] = dataclasses.field(init=False, repr=False, compare=False)
    _listed: tuple[int, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def bits(self, sequence: int) -> int:
        """Bits of the row with this sequence, in [0, rounds]; `rounds` is the final one."""
        if sequence == self.rounds:
            return self.final_bits
        if sequence < len(self._listed):
            return self._listed[sequence]
        return self.layers[bisect.bisect_right(self._ends, sequence)][1]

    def ordinal(self, epoch: int, sequence: int) -> int:
        """Place of a row in the stream's line of rows."""
        return epoch * (self.rounds + 1) + sequence

    def place(self, ordinal: int) -> tuple[int, int]:
        """(epoch, sequence) of an ordinal."""
        return divmod(ordinal, self.rounds + 1)

    def widths(self, sequence: int, count: int) -> list[int]:
        """Bits of `count` rows from this one on, which must all be of one shot."""
        return [self.bits(at) for at in range(sequence, sequence + count)]

    def size(self, sequence: int, count: int) -> int:
        """Bytes of `count` packed rows from this one on, which must all be of one shot."""
        return self._offset(sequence + count) - self._offset(sequence)

    def _offset(self, sequence: int) -> int:
        """Bytes of the rows of a shot before this one; `rounds` + 1 is past the final one."""
        if sequence > self.rounds:
            return self._bytes_before[-1] + packed_bytes(self.final_bits)
        run = min(bisect.bisect_right(self._ends, sequence), len(self.layers) - 1)
        count, bits = self.layers[run]
        return self._bytes_before[run] + (sequence - self._ends[run] + count) * packed_bytes(bits)

    def rows_in(self, sequence: int, length: int, *, masked: bool) -> int:
        """Fewest rows from `sequence` on that a payload of `length` bytes has room for, at least 1.

        Where the payload is damaged, this is how many rows are known to have been sent.

        Args:
            masked: a bit a row follows the rows (ERASED).
        """
        count, size = 1, COUNT_BYTES + packed_bytes(self.bits(sequence))
        while size + masked * packed_bytes(count) < length and sequence + count <= self.rounds:
            size += packed_bytes(self.bits(sequence + count))
            count += 1
        return count
