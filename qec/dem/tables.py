"""A detector error model as sparse tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import stim

from qec.dem import gf2
from qec.dem.mechanisms import Component, Mechanism

__all__ = ["DemTables", "detector_coordinates"]


@dataclass(frozen=True, eq=False)
class DemTables:
    """The mechanisms of a DEM and the components Stim suggests for them, as sparse 0/1 matrices.

    A *mechanism* is one `error` instruction; a *component* is one of the parts between its `^`
    separators. Components that flip the same detectors and observables are stored once.

    Attributes:
        probabilities: float64 `(mechanisms,)`.
        detectors: uint8 CSC `(num_detectors, mechanisms)`: the detectors a mechanism flips.
        observables: uint8 CSC `(num_observables, mechanisms)`.
        component_detectors: uint8 CSC `(num_detectors, components)`.
        component_observables: uint8 CSC `(num_observables, components)`.
        components: uint8 CSC `(components, mechanisms)`: the components of each mechanism, mod 2.
    """

    probabilities: np.ndarray
    detectors: sp.csc_matrix
    observables: sp.csc_matrix
    component_detectors: sp.csc_matrix
    component_observables: sp.csc_matrix
    components: sp.csc_matrix

    @property
    def num_detectors(self) -> int:
        return self.detectors.shape[0]

    @property
    def num_observables(self) -> int:
        return self.observables.shape[0]

    @property
    def num_mechanisms(self) -> int:
        return self.detectors.shape[1]

    def firing_probabilities(self) -> np.ndarray:
        """How often each detector fires: float64 `(num_detectors,)`."""
        bias = np.log(np.abs(1 - 2 * np.minimum(self.probabilities, 0.5 - 1e-12)))
        return (1 - np.exp(self.detectors @ bias)) / 2

    @classmethod
    def from_mechanisms(
        cls, mechanisms: Iterable[Mechanism], *, num_detectors: int, num_observables: int
    ) -> DemTables:
        """Tables of mechanisms, in their order."""
        probabilities: list[float] = []
        members: list[list[int]] = []
        index: dict[Component, int] = {}
        for mechanism in mechanisms:
            probabilities.append(mechanism.probability)
            members.append([index.setdefault(part, len(index)) for part in mechanism.components])
        component_detectors = gf2.from_columns([part[0] for part in index], rows=num_detectors)
        component_observables = gf2.from_columns([part[1] for part in index], rows=num_observables)
        components = gf2.from_columns(members, rows=len(index))
        return cls(
            probabilities=np.array(probabilities, dtype=np.float64),
            detectors=gf2.product(component_detectors, components),
            observables=gf2.product(component_observables, components),
            component_detectors=component_detectors,
            component_observables=component_observables,
            components=components,
        )


def detector_coordinates(dem: stim.DetectorErrorModel) -> list[list[float]]:
    """Coordinates of detectors 0 to n-1; an empty list where a detector has none."""
    known = dem.get_detector_coordinates()
    return [known.get(k, []) for k in range(dem.num_detectors)]
