"""Location classes: mechanisms that flip detectors of the same ancillas, whatever the round."""

from __future__ import annotations

from typing import Literal

from noise_learning.models.structure import Structure

__all__ = ["KINDS", "Kind", "LocationKey", "has_coordinates", "location_keys"]

Kind = Literal["time", "space", "boundary", "hyperedge"]
KINDS: dict[Kind, str] = {
    "time": "one ancilla, two rounds",
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

    None for a mechanism that no detector sees, and for flips in an ancilla's first or last layer that only
    one detector sees: there the experiment ends, and they are no class of their own.

    Raises:
        ValueError: not `has_coordinates(structure)`.
    """
    for k, c in enumerate(structure.coordinates):
        if len(c) < 3:
            raise ValueError(f"detector D{k} has coordinates {list(c)}; location classes need (x, y, t)")
    times: dict[Position, list[float]] = {}
    for x, y, t, *_ in structure.coordinates:
        times.setdefault((x, y), []).append(t)
    ends = {position: (min(ts), max(ts)) for position, ts in times.items()}
    keys: list[LocationKey | None] = []
    for mechanism in structure.mechanisms:
        where = [structure.coordinates[d] for d in mechanism.detectors]
        positions = tuple(sorted({(x, y) for x, y, *_ in where}))
        at_end = len(where) == 1 and where[0][2] in ends[positions[0]]
        keys.append(None if at_end or not where else (_kind(len(where), len(positions)), positions))
    return keys


def _kind(detectors: int, positions: int) -> Kind:
    if positions == 1:
        return "boundary" if detectors == 1 else "time"
    return "space" if positions == 2 else "hyperedge"
