"""The graph that is matched on, and what its edges imply for each other.

Shape legend: D detectors, E edges, O observables, J implied weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qec import Faults, Mechanism, NormalForm

__all__ = ["ImpliedWeights", "MatchingGraph"]

_Detectors = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ImpliedWeights:
    """What edges weigh once others are known to have happened; see `MatchingGraph.of_mechanisms`.

    Attributes:
        starts: int32 `(E + 1,)`: edge k implies those from `starts[k]` to `starts[k + 1]`.
        edges: int32 `(J,)`.
        weights: float32 `(J,)`, not negative.
    """

    starts: np.ndarray
    edges: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class MatchingGraph:
    """Edges between detectors, or between one and the boundary; several may have the same ends.

    Attributes:
        ends: int32 `(2, E)`: the detectors of an edge, the second -1 where it ends on the boundary, both -1
            where there is no edge, but a number to be kept.
        weights: float32 `(E,)`: of any sign, log((1 - p) / p) in nats where the edges are errors.
        observables: uint8 `(E, ceil(O / 8))`, LSB first: those that an edge flips.
        num_detectors, num_observables: D and O.
        implied: for correlated matching.
    """

    ends: np.ndarray
    weights: np.ndarray
    observables: np.ndarray
    num_detectors: int
    num_observables: int
    implied: ImpliedWeights | None = None

    @classmethod
    def of_faults(cls, faults: Faults) -> MatchingGraph:
        """The graph of faults that flip one or two detectors each.

        Raises:
            ValueError: a fault flips more.
        """
        return cls(
            ends=_ends(faults.detectors),
            weights=faults.weights().astype(np.float32),
            observables=np.packbits(faults.observable_flips, axis=1, bitorder="little"),
            num_detectors=faults.num_detectors,
            num_observables=faults.observable_flips.shape[1],
        )

    @classmethod
    def of_normal_form(
        cls, normal: NormalForm, *, correlated: bool = False, decomposed: bool = False
    ) -> MatchingGraph:
        """The graph that `pymatching`, or `pymatching-correlated`, matches on.

        Args:
            correlated: edges imply weights for each other.
            decomposed: Y errors at a patch's corners, which flip one detector of either type, are always two
                edges. Classes need that: as one edge they close cycles that flip the observable.

        Raises:
            ValueError: a component of a mechanism flips more than two detectors.
        """
        if not (correlated or decomposed):
            return cls.of_faults(normal.edges)
        graph = cls.of_mechanisms(
            normal.matched(decomposed=decomposed),
            num_detectors=normal.num_detectors,
            num_observables=normal.num_observables,
        )
        return graph if correlated else dataclasses.replace(graph, implied=None)

    @classmethod
    def of_mechanisms(
        cls, errors: Iterable[Mechanism], *, num_detectors: int, num_observables: int
    ) -> MatchingGraph:
        """The graph of all components, with the weights that they imply for each other.

        As PyMatching's `enable_correlations` has it: an edge happens with the probability that an odd
        number of mechanisms with it do, two of them together likewise; given one of them, the other one has
        the probability of both over that of the first, 1/2 at most. Of edges with the same detectors, the
        first one's observables count.

        Raises:
            ValueError: a component flips more than two detectors.
        """
        number: dict[_Detectors, int] = {}
        flips: list[tuple[int, ...]] = []
        alone: list[float] = []
        joint: list[dict[int, float]] = []
        for error in errors:
            parts: list[int] = []
            for detectors, observables in error.components:
                if not detectors:
                    continue
                edge = number.setdefault(detectors, len(number))
                if edge == len(alone):
                    flips.append(observables)
                    alone.append(0.0)
                    joint.append({})
                parts.append(edge)
                alone[edge] = _odd(alone[edge], error.probability)
            for a in parts:
                for b in parts:
                    if a != b:
                        joint[a][b] = _odd(joint[a].get(b, 0.0), error.probability)
        packed = np.zeros((len(flips), num_observables), dtype=np.uint8)
        for edge, observables in enumerate(flips):
            packed[edge, list(observables)] = 1
        return cls(
            ends=_ends(tuple(number)),
            weights=np.array([_weight(p) for p in alone], dtype=np.float32),
            observables=np.packbits(packed, axis=1, bitorder="little"),
            num_detectors=num_detectors,
            num_observables=num_observables,
            implied=ImpliedWeights(
                starts=np.cumsum([0, *map(len, joint)], dtype=np.int32),
                edges=np.array([b for others in joint for b in others], dtype=np.int32),
                weights=np.array(
                    [
                        _weight(min(0.5, both / p))
                        for p, others in zip(alone, joint, strict=True)
                        for both in others.values()
                    ],
                    dtype=np.float32,
                ),
            ),
        )

    def flips(self, observable: int) -> np.ndarray:
        """uint8 0/1 `(E,)`: whether an edge flips an observable.

        Raises:
            ValueError: there is no such observable.
        """
        if not 0 <= observable < self.num_observables:
            raise ValueError(f"observable L{observable} is not one of {self.num_observables}")
        byte, bit = divmod(observable, 8)
        return (self.observables[:, byte] >> bit) & 1


def _ends(detectors: tuple[_Detectors, ...]) -> np.ndarray:
    for found in detectors:
        if len(found) > 2:
            names = " ".join(f"D{k}" for k in found)
            raise ValueError(
                f"an error flips {names} in one component, and a matching joins two at most; build the DEM "
                "with decompose_errors=True"
            )
    return np.array([[d[0], d[1] if len(d) == 2 else -1] for d in detectors], dtype=np.int32).reshape(-1, 2).T


def _odd(p: float, q: float) -> float:
    return p * (1 - q) + q * (1 - p)


def _weight(probability: float) -> float:
    return math.log((1 - probability) / probability)
