"""Location classes: mechanisms that flip detectors of the same ancillas, whatever the round."""

from __future__ import annotations

from typing import Literal

from noise_learning.models.ancilla_rounds import AncillaRounds
from noise_learning.models.structure import Structure

__all__ = ["KINDS", "Kind", "LocationKey", "has_coordinates", "location_keys"]

Kind = Literal["time", "readout", "space", "boundary", "hyperedge"]
KINDS: dict[Kind, str] = {
    "time": "one ancilla, two rounds",
    "readout": "one ancilla, rounds t and t + 2 (wrong results without reset)",
    "space": "two ancillas",
    "boundary": "one ancilla, once",
    "hyperedge": "three or more",
}
"""What mechanisms of a kind flip."""

Position = tuple[float, float]
LocationKey = tuple[Kind, tuple[Position, ...]]


def has_coordinates(structure: Structure) -> bool:
    """Whether every detector has coordinates (x, y, t, ...), without which there are no location classes."""
    return all(len(c) >= 3 for c in structure.coordinates)


def location_keys(structure: Structure) -> list[LocationKey | None]:
    """Kind and positions of every mechanism.

    None for a mechanism that no detector sees, and for flips in an ancilla's first or last layer (without
    reset, its first or last two) that only one detector sees: there the experiment ends, and they are no
    class of their own.

    Raises:
        ValueError: not `has_coordinates(structure)`.
    """
    for k, c in enumerate(structure.coordinates):
        if len(c) < 3:
            raise ValueError(f"detector D{k} has coordinates {list(c)}; location classes need (x, y, t)")
    rounds = AncillaRounds.of(structure)
    keys: list[LocationKey | None] = []
    for mechanism in structure.mechanisms:
        detectors = mechanism.detectors
        at_end = len(detectors) == 1 and min(rounds.ends(detectors)) < rounds.compared
        if at_end or not detectors:
            keys.append(None)
            continue
        positions = tuple(sorted({(x, y) for x, y, *_ in (structure.coordinates[d] for d in detectors)}))
        keys.append((_kind(len(detectors), len(positions), rounds.apart(detectors, structure)), positions))
    return keys


def _kind(detectors: int, positions: int, apart: int) -> Kind:
    if positions == 1:
        return "boundary" if detectors == 1 else "readout" if detectors == apart == 2 else "time"
    return "space" if positions == 2 else "hyperedge"
