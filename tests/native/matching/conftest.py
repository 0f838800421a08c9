"""What matchings weigh, found by trying everything, and by PyMatching."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pymatching
import pytest


@dataclass(frozen=True, eq=False)
class Edges:
    """A graph: ends int `(2, E)` with -1 for the boundary, weights float32 `(E,)`, flips 0/1 `(E,)`."""

    num_detectors: int
    ends: np.ndarray
    weights: np.ndarray
    flips: np.ndarray

    @property
    def incidence(self) -> np.ndarray:
        """int `(E, D)`: how often an edge ends on a detector."""
        matrix = np.zeros((self.ends.shape[1], self.num_detectors + 1), dtype=np.int64)
        for end in self.ends:
            np.add.at(matrix, (np.arange(len(end)), end), 1)
        return matrix[:, :-1]

    def least_weights(self) -> np.ndarray:
        """float `(2^D, 2)`: of every syndrome (bit k is detector k), in both classes; infinite for none."""
        count = self.ends.shape[1]
        chosen = (np.arange(1 << count)[:, None] >> np.arange(count)) & 1
        syndrome = (chosen @ self.incidence % 2) @ (1 << np.arange(self.num_detectors))
        least = np.full((1 << self.num_detectors, 2), np.inf)
        np.minimum.at(least, (syndrome, chosen @ self.flips % 2), chosen @ self.weights.astype(np.float64))
        return least

    def all_syndromes(self) -> np.ndarray:
        """uint8 0/1 `(2^D, D)`."""
        bits = np.arange(1 << self.num_detectors)[:, None] >> np.arange(self.num_detectors)
        return (bits & 1).astype(np.uint8)

    def pymatching_weights(self, weights: np.ndarray, syndromes: np.ndarray) -> np.ndarray:
        """float `(B,)`: of every shot, on a new graph with its weights, rounded to 2^-24 of the largest."""
        found = []
        for of_shot, syndrome in zip(weights.astype(np.float64), syndromes, strict=True):
            matching = pymatching.Matching()
            for k, (a, b) in enumerate(self.ends.T.tolist()):
                if b < 0:
                    matching.add_boundary_edge(a, weight=of_shot[k], merge_strategy="smallest-weight")
                else:
                    matching.add_edge(a, b, weight=of_shot[k], merge_strategy="smallest-weight")
            padded = np.zeros(matching.num_detectors, dtype=np.uint8)
            padded[: len(syndrome)] = syndrome[: len(padded)]
            found.append(matching.decode(padded, return_weight=True)[1])
        return np.array(found)


def random_edges(rng: np.random.Generator, *, detectors: int, count: int, kind: str) -> Edges:
    """Edges between any detectors, parallel ones included; a quarter end on the boundary."""
    ends = np.array([rng.choice(detectors, size=2, replace=False) for _ in range(count)]).T
    ends[1, rng.random(count) < 0.25] = -1
    weights = {
        "whole": lambda: rng.integers(-3, 8, count),
        "zeros": lambda: rng.integers(0, 3, count),
        "normal": lambda: rng.normal(2, 2, count),
        "positive": lambda: rng.exponential(2, count),
    }[kind]()
    return Edges(detectors, ends.astype(np.int32), weights.astype(np.float32), rng.integers(0, 2, count))


def flips_on_a_cycle(edges: Edges) -> bool:
    """Whether a cycle of edges between detectors flips: no labels of detectors explain the flips."""
    inside = edges.ends[:, edges.ends[1] >= 0]
    flips = edges.flips[edges.ends[1] >= 0]
    labels = edges.all_syndromes()
    return not (labels[:, inside[0]] ^ labels[:, inside[1]] == flips).all(axis=1).any()


@pytest.fixture(scope="session")
def reference() -> SimpleNamespace:
    """`Edges`, `random_edges` and `flips_on_a_cycle` of this file."""
    return SimpleNamespace(Edges=Edges, random_edges=random_edges, flips_on_a_cycle=flips_on_a_cycle)
