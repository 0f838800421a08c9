"""Merged faults: what a decoder that is not given Stim's own format needs to know.

A fault is a set of detectors with a probability and the observables it flips. Mechanisms with the
same detectors cannot be told apart by a decoder, so they become one fault: the probability that an
odd number of them fired, with the observables that are then likeliest.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csc_matrix

from qec.dem import gf2
from qec.dem.mechanisms import Component
from qec.dem.merging import likeliest, odd_of_all

__all__ = ["Faults", "merged"]


@dataclasses.dataclass(frozen=True, eq=False)
class Faults:
    """Faults in the order in which the DEM first names their detector sets.

    Attributes:
        probabilities: float64 (m,), each in (0, 1/2].
        detectors: per fault its detectors, ascending, at least one.
        observable_flips: uint8 (m, num_observables), 1 where a fault flips an observable.
        num_detectors: as the DEM counts them.
    """

    probabilities: np.ndarray
    detectors: tuple[tuple[int, ...], ...]
    observable_flips: np.ndarray
    num_detectors: int

    def __len__(self) -> int:
        return len(self.detectors)

    def weights(self) -> np.ndarray:
        """float64 (m,): log((1-p)/p), at least 0."""
        return np.log1p(-self.probabilities) - np.log(self.probabilities)

    def check_matrix(self) -> csc_matrix:
        """uint8 (num_detectors, m): column j has the detectors of fault j."""
        return gf2.from_columns(self.detectors, rows=self.num_detectors)

    def flips_of(self, fault_indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (num_observables,): XOR of the observables of the given faults."""
        return np.bitwise_xor.reduce(self.observable_flips[np.asarray(fault_indices, dtype=np.intp)], axis=0)


def merged(parts: Iterable[tuple[float, Component]], *, num_detectors: int, num_observables: int) -> Faults:
    """One fault for each set of detectors; an error without detectors cannot be decoded, only suffered.

    Args:
        parts: probabilities, in (0, 1/2], and symptoms.
    """
    by_detectors: dict[tuple[int, ...], dict[tuple[int, ...], list[float]]] = {}
    for p, (detectors, observables) in parts:
        if detectors:
            by_detectors.setdefault(detectors, {}).setdefault(observables, []).append(p)
    probabilities = np.zeros(len(by_detectors))
    flips = np.zeros((len(by_detectors), num_observables), dtype=np.uint8)
    for j, alternatives in enumerate(by_detectors.values()):
        likelihoods = {observables: odd_of_all(found) for observables, found in alternatives.items()}
        probabilities[j] = odd_of_all(likelihoods.values())
        flips[j, list(likeliest(likelihoods))] = 1
    return Faults(
        probabilities=probabilities,
        detectors=tuple(by_detectors),
        observable_flips=flips,
        num_detectors=num_detectors,
    )
