"""Mechanisms that happen in half of the shots or more.

One of p > 1/2 is one that always happens and one of 1 - p. Moments know both apart: their sizes give 1 - p,
their signs which detectors an odd number of certain errors flips. Which errors these are is a decoding
problem: the likeliest set that flips just these detectors, where a mechanism costs ln((1 - p) / p), and all
time translations of one cost as much as one, since noise is much the same in all rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.sparse as sp
import scipy.sparse.csgraph

from noise_learning.estimators.detectors import DetectorStates, significant
from noise_learning.models.structure import Structure
from noise_learning.models.time_translations import time_translation_classes
from noise_learning.moments.moments import Moments
from noise_learning.moments.subsets import incidence

_SECONDS = 20.0  # for one search; an experiment whose noise is below 1/2 needs none
# An explanation is in doubt where another one is at least this likely in comparison.
_DOUBT = 0.05
# A mechanism happens in half of the shots where 1 - 2 p is known to be below this.
_COIN_WIDTH = 0.25


@dataclass(frozen=True)
class CertainErrors:
    """Errors that always happen, as far as signs of moments tell.

    Attributes:
        sets: their detector sets.
        rivals: those of another explanation that is nearly as likely, empty where there is none.
        unexplained: bool (detectors,), those that no errors explain.
    """

    sets: tuple[tuple[int, ...], ...]
    rivals: tuple[tuple[int, ...], ...]
    unexplained: np.ndarray


def explain(structure: Structure, flipped: np.ndarray, a: np.ndarray) -> CertainErrors:
    """Find the likeliest detector sets that together flip the given detectors.

    Args:
        flipped: bool (detectors,), none of those that the structure leaves out.
        a: float64 (detector sets,), valid attenuations.
    """
    sets = incidence(structure.detector_sets, columns=structure.num_detectors).astype(np.float64)
    cost = 2 * np.arctanh(np.exp(-a))  # ln((1 - p) / p) of p = (1 - exp(-a)) / 2
    class_of = time_translation_classes(structure, ends_apart=False)
    _, part_of = scipy.sparse.csgraph.connected_components(sets.T @ sets, directed=False)
    found: list[int] = []
    rivals: list[int] = []
    unexplained = np.zeros(len(flipped), dtype=bool)
    for part in np.unique(part_of[flipped]):
        inside = part_of == part
        here = np.flatnonzero(np.asarray(sets @ inside.astype(np.float64) > 0))
        search = _Search.of(sets[here][:, inside], cost[here], class_of[here], flipped[inside])
        best, second = search.best_two()
        if best is None:
            unexplained |= inside & flipped
            continue
        found += here[best].tolist()
        rivals += [] if second is None else here[second].tolist()
    named = [tuple(structure.detector_sets[k] for k in some) for some in (found, rivals)]
    return CertainErrors(named[0], named[1], unexplained)


def coin_sets(
    structure: Structure, moments: Moments, detectors: DetectorStates, *, scale: float
) -> tuple[tuple[int, ...], ...]:
    """Detector sets that happen in half of the shots: what they turn an odd number of has no moment.

    Of sets that span the same, the smallest: no statistics tell them apart. None where all other mechanisms
    of a detector, at the prior's rates times `scale`, leave so small a moment that many rates would fit.
    """
    coins = set(detectors.coins)
    a = scale * structure.prior_attenuation
    single = np.zeros(structure.num_detectors)  # what is left of each detector's moment
    for members, its in zip(structure.detector_sets, a, strict=True):
        single[list(members)] += its
    broken = np.zeros(structure.num_detectors, dtype=np.float32)
    broken[[*detectors.never, *detectors.always]] = 1
    usable = np.asarray(structure.subsets.incidence @ broken == 0)
    noise = significant(len(usable)) / np.sqrt(detectors.shots)
    seen = np.abs(moments.means) >= noise
    parity = structure.parity.tocsc()
    found: list[tuple[int, ...]] = []
    basis: list[set[int]] = []
    for k, members in enumerate(structure.detector_sets):
        if not coins.issuperset(members):
            continue
        if noise > _COIN_WIDTH * np.exp(a[k] - single[list(members)].min()):
            continue
        rows = parity[:, [k]].indices
        if not (seen & usable)[rows].any() and (rest := _reduced(set(members), basis)):
            basis.append(rest)
            found.append(members)
    return tuple(found)


def _reduced(members: set[int], basis: list[set[int]]) -> set[int]:
    """What is left of a set mod 2 after those before it; each of `basis` is told by its smallest member."""
    for other in basis:
        if min(other) in members:
            members = members ^ other
    return members


@dataclass(frozen=True, eq=False)
class _Search:
    """An integer program: least cost with A x - 2 y = flipped, x of sets and of classes of sets.

    Attributes:
        flips: float64 (detectors, sets and classes), how often each flips a detector.
        of_sets: float64 (sets, sets and classes), which sets each stands for.
        cost: float64 (sets and classes,).
        flipped: bool (detectors,).
    """

    flips: sp.csr_matrix
    of_sets: sp.csr_matrix
    cost: np.ndarray
    flipped: np.ndarray

    @classmethod
    def of(cls, sets: sp.csr_matrix, cost: np.ndarray, class_of: np.ndarray, flipped: np.ndarray) -> _Search:
        numbers, member, size = np.unique(class_of, return_inverse=True, return_counts=True)
        shape = (len(cost), len(numbers))
        classes = sp.csr_matrix((np.ones(len(cost)), (np.arange(len(cost)), member)), shape=shape)
        several = np.flatnonzero(size > 1)
        of_sets = sp.hstack([sp.eye_array(len(cost)), classes[:, several]]).tocsr()
        mean = (classes.T @ cost) / size
        return cls((sets.T @ of_sets).tocsr(), of_sets, np.concatenate([cost, mean[several]]), flipped)

    def best_two(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Sets of the best solution, and of the next if it is nearly as likely; None where there is none."""
        first = self._solve([])
        if first is None:
            return None, None
        cuts = [first]
        for _ in range(3):  # a class and all of its members are two ways to say the same
            other = self._solve(cuts)
            if other is None or self.cost @ other > self.cost @ first - np.log(_DOUBT):
                return self._sets(first), None
            if not np.array_equal(self._sets(first), self._sets(other)):
                return self._sets(first), self._sets(other)
            cuts.append(other)
        return self._sets(first), None

    def _sets(self, x: np.ndarray) -> np.ndarray:
        return np.flatnonzero((self.of_sets @ x) % 2)

    def _solve(self, cuts: list[np.ndarray]) -> np.ndarray | None:
        """float64 (sets and classes,), 0 or 1, other than `cuts`; None where there is none, or time is up."""
        detectors, choices = self.flips.shape
        most = np.asarray(self.flips.sum(axis=1)).ravel()
        matrix = sp.hstack([self.flips, -2 * sp.eye_array(detectors)])
        wanted = self.flipped.astype(float)
        constraints = [scipy.optimize.LinearConstraint(matrix, wanted, wanted)]
        for cut in cuts:  # at least one choice differs
            row = np.concatenate([1 - 2 * cut, np.zeros(detectors)])
            constraints.append(scipy.optimize.LinearConstraint(row[None], 1 - cut.sum(), np.inf))
        result = scipy.optimize.milp(
            np.concatenate([self.cost, np.zeros(detectors)]),
            integrality=np.ones(choices + detectors),
            bounds=scipy.optimize.Bounds(0, np.concatenate([np.ones(choices), most // 2])),
            constraints=constraints,
            options={"time_limit": _SECONDS},
        )
        return np.round(result.x[:choices]) if result.success else None
