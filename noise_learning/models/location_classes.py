"""Where on the patch a mechanism acts: rates of all rounds gathered per place, for maps and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from noise_learning.fit import NoiseFit
from noise_learning.structure import Structure

__all__ = ["KINDS", "Kind", "Place", "PlaceKey", "gather_places", "has_coordinates", "place_keys"]

Kind = Literal["time", "space", "boundary", "hyperedge"]
KINDS: dict[Kind, str] = {
    "time": "one ancilla, two rounds",
    "space": "two ancillas",
    "boundary": "one ancilla, once",
    "hyperedge": "three or more",
}
"""What mechanisms of a kind flip."""

Position = tuple[float, float]
PlaceKey = tuple[Kind, tuple[Position, ...]]


@dataclass(frozen=True)
class Place:
    """The mechanisms that flip detectors of the same ancillas, whatever the round.

    Attributes:
        kind: see `KINDS`.
        positions: (x, y) of the ancillas, sorted.
        mechanisms: how many mechanisms were added up.
        rate: their summed probabilities per round: expected flips of this place in a round.
        assumed: the same of the model that the fit is held against.
        sigma: standard error of `rate`, with errors of mechanisms taken as independent; too large where
            mechanisms of the place trade against each other.
    """

    kind: Kind
    positions: tuple[Position, ...]
    mechanisms: int
    rate: float
    assumed: float
    sigma: float

    @property
    def centre(self) -> Position:
        """Mean of `positions`."""
        x, y = np.mean(np.array(self.positions), axis=0)
        return float(x), float(y)

    @property
    def ratio(self) -> float:
        """Learned over assumed."""
        return self.rate / self.assumed

    @property
    def pull(self) -> float:
        """(rate - assumed) / sigma."""
        return (self.rate - self.assumed) / self.sigma if self.sigma > 0 else 0.0


def has_coordinates(structure: Structure) -> bool:
    """Whether every detector has coordinates (x, y, t), without which there are no places."""
    return all(len(c) == 3 for c in structure.coordinates)


def place_keys(structure: Structure) -> list[PlaceKey | None]:
    """Kind and positions of every mechanism.

    None for a mechanism that no detector sees, and for flips in an ancilla's first or last layer that only
    one detector sees: there the experiment ends, and they are no place of their own.

    Raises:
        ValueError: not `has_coordinates(structure)`.
    """
    for k, c in enumerate(structure.coordinates):
        if len(c) != 3:
            raise ValueError(f"detector D{k} has coordinates {list(c)}; places need (x, y, t)")
    times: dict[Position, list[float]] = {}
    for x, y, t in structure.coordinates:
        times.setdefault((x, y), []).append(t)
    ends = {position: (min(ts), max(ts)) for position, ts in times.items()}
    keys: list[PlaceKey | None] = []
    for mechanism in structure.mechanisms:
        where = [structure.coordinates[d] for d in mechanism.detectors]
        positions = tuple(sorted({(x, y) for x, y, _ in where}))
        at_end = len(where) == 1 and where[0][2] in ends[positions[0]]
        keys.append(None if at_end or not where else (_kind(len(where), len(positions)), positions))
    return keys


def gather_places(fit: NoiseFit) -> list[Place]:
    """Adds up the mechanisms of every place over rounds.

    Raises:
        ValueError: not `has_coordinates(fit.structure)`.
    """
    structure = fit.structure
    members: dict[PlaceKey, list[int]] = {}
    layers: dict[PlaceKey, set[float]] = {}
    for j, key in enumerate(place_keys(structure)):
        if key is not None:
            members.setdefault(key, []).append(j)
            first = min(structure.coordinates[d][2] for d in structure.mechanisms[j].detectors)
            layers.setdefault(key, set()).add(first)
    return [
        Place(
            kind=key[0],
            positions=key[1],
            mechanisms=len(here),
            rate=float(fit.p[here].sum()) / len(layers[key]),
            assumed=float(fit.assumed[here].sum()) / len(layers[key]),
            sigma=float(np.sqrt((fit.sigma[here] ** 2).sum())) / len(layers[key]),
        )
        for key, here in members.items()
    ]


def _kind(detectors: int, positions: int) -> Kind:
    if positions == 1:
        return "boundary" if detectors == 1 else "time"
    return "space" if positions == 2 else "hyperedge"
