"""Detectors by their place in the order of their ancilla's rounds."""

from __future__ import annotations

from dataclasses import dataclass

from noise_learning.models.structure import Structure
from qec import position_of, time_of

__all__ = ["AncillaRounds"]


@dataclass(frozen=True)
class AncillaRounds:
    """Where detectors stand among those of their ancilla.

    Attributes:
        from_first, from_last: by detector that has coordinates, how many rounds its ancilla has before and
            after it.
        compared: rounds from a measurement to the one that it is compared with: 2 where a mechanism flips
            two detectors of one ancilla that are two apart, as wrong results do without mid-circuit reset;
            else 1.
    """

    from_first: dict[int, int]
    from_last: dict[int, int]
    compared: int

    @classmethod
    def of(cls, structure: Structure) -> AncillaRounds:
        """Sort the detectors of every place by time; equal times are one round."""
        times: dict[tuple[float, ...], set[float]] = {}
        for c in filter(None, structure.coordinates):
            times.setdefault(position_of(c), set()).add(time_of(c))
        order = {place: {t: k for k, t in enumerate(sorted(ts))} for place, ts in times.items()}
        first = {d: order[position_of(c)][time_of(c)] for d, c in enumerate(structure.coordinates) if c}
        last = {d: len(times[position_of(structure.coordinates[d])]) - 1 - k for d, k in first.items()}
        rounds = cls(first, last, 1)
        if any(len(s) == 2 and rounds.apart(s, structure) == 2 for s in structure.detector_sets):
            return cls(first, last, 2)
        return rounds

    def apart(self, detectors: tuple[int, ...], structure: Structure) -> int:
        """Rounds from the first to the last of one ancilla's detectors; 0 of several ancillas' detectors."""
        places = {position_of(structure.coordinates[d]) for d in detectors if structure.coordinates[d]}
        if len(places) != 1 or not all(d in self.from_first for d in detectors):
            return 0
        ranks = [self.from_first[d] for d in detectors]
        return max(ranks) - min(ranks)

    def ends(self, detectors: tuple[int, ...]) -> tuple[int, int]:
        """How far detectors are from their ancilla's first and last, up to where nothing is special any more.

        Preparation and the measurement of data qubits add to what flips an ancilla's first or last detector,
        and where the ancilla is of the other basis, whose first detector comes a round later, so do its first
        and last measurement. Where wrong results are seen two rounds apart, a wrong first or last measurement
        but one is seen there by one detector alone, next to the first or last.
        """
        limit = self.compared if len(detectors) == 1 else 1
        first, last = (min(ranks[d] for d in detectors) for ranks in (self.from_first, self.from_last))
        return min(first, limit), min(last, limit)
