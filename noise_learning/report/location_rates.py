"""Learned rates of location classes: mechanisms gathered over rounds, for maps and tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noise_learning.estimators.fit import NoiseFit
from noise_learning.models.location_classes import Kind, LocationKey, Position, location_keys

__all__ = ["LocationClass", "gather_location_classes"]


@dataclass(frozen=True)
class LocationClass:
    """The mechanisms that flip detectors of the same ancillas, whatever the round.

    Attributes:
        kind: see `KINDS`.
        positions: (x, y) of the ancillas, sorted.
        mechanisms: how many mechanisms were added up.
        rate: their summed probabilities per round: expected flips of this class in a round.
        assumed: the same of the model that the fit is held against.
        sigma: standard error of `rate`, with errors of mechanisms taken as independent; too large where
            mechanisms of the class trade against each other.
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
    def z_score(self) -> float:
        """(rate - assumed) / sigma."""
        return (self.rate - self.assumed) / self.sigma if self.sigma > 0 else 0.0


def gather_location_classes(fit: NoiseFit) -> list[LocationClass]:
    """Adds up the mechanisms of every location class over rounds.

    Raises:
        ValueError: not `has_coordinates(fit.structure)`.
    """
    structure = fit.structure
    members: dict[LocationKey, list[int]] = {}
    layers: dict[LocationKey, set[float]] = {}
    for j, key in enumerate(location_keys(structure)):
        if key is not None:
            members.setdefault(key, []).append(j)
            first = min(structure.coordinates[d][2] for d in structure.mechanisms[j].detectors)
            layers.setdefault(key, set()).add(first)
    return [
        LocationClass(
            kind=key[0],
            positions=key[1],
            mechanisms=len(here),
            rate=float(fit.p[here].sum()) / len(layers[key]),
            assumed=float(fit.assumed[here].sum()) / len(layers[key]),
            sigma=float(np.sqrt((fit.sigma[here] ** 2).sum())) / len(layers[key]),
        )
        for key, here in members.items()
    ]
