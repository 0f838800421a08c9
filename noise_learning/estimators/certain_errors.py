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

_SECONDS = 10.0  # for one search; an experiment whose noise is below 1/2 needs none
# An explanation is in doubt where another one is at least this likely in comparison.
_DOUBT = 0.05
# A mechanism happens in half of the shots where 1 - 2 p is known to be below this.
_HALF_WIDTH = 0.25
_MOST_USUAL = 1.0  # no mechanism has a larger attenuation as a rule (p = 0.32)


@dataclass(frozen=True)
class CertainErrors:
    """Errors that always happen, as far as signs of moments tell.

    Attributes:
        sets: their detector sets.
        alternatives: those of another explanation that is nearly as likely, empty where there is none.
        unexplained: bool (detectors,), those that no errors explain.
    """

    sets: tuple[tuple[int, ...], ...]
    alternatives: tuple[tuple[int, ...], ...]
    unexplained: np.ndarray


def explain(structure: Structure, flipped: np.ndarray, a: np.ndarray) -> CertainErrors:
    """Find the likeliest detector sets that together flip the given detectors.

    Args:
        flipped: bool (detectors,), none of those that the structure leaves out.
        a: float64 (detector sets,), valid attenuations.
    """
    sets = incidence(structure.detector_sets, columns=structure.num_detectors).astype(np.float64)
    cost = _cost(a)
    class_of = time_translation_classes(structure, ends_apart=False)
    _, part_of = scipy.sparse.csgraph.connected_components(sets.T @ sets, directed=False)
    found: list[int] = []
    alternatives: list[int] = []
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
        alternatives += [] if second is None else here[second].tolist()
    named = [tuple(structure.detector_sets[k] for k in some) for some in (found, alternatives)]
    return CertainErrors(named[0], named[1], unexplained)


def half_probable_sets(
    structure: Structure, moments: Moments, detectors: DetectorStates, *, scale: float
) -> tuple[tuple[int, ...], ...]:
    """Detector sets that happen in half of the shots: what they turn an odd number of has no moment.

    The likeliest ones that explain all vanishing moments of the random detectors. None where all other
    mechanisms of a detector, at the prior's rates times `scale`, leave so small a moment that many rates fit.
    """
    random = np.zeros(structure.num_detectors, dtype=np.float32)
    random[list(detectors.random)] = 1
    a = np.minimum(scale * structure.prior_attenuation, _MOST_USUAL)
    sets = incidence(structure.detector_sets, columns=structure.num_detectors)
    single = sets.T @ a  # what is left of each detector's moment
    broken = np.zeros(structure.num_detectors, dtype=np.float32)
    broken[[*detectors.never, *detectors.always]] = 1
    subsets = structure.subsets.incidence
    usable = np.asarray(subsets @ broken == 0)
    noise = significant(len(usable)) / np.sqrt(detectors.shots)
    seen = usable & (np.abs(moments.means) >= noise)
    odd_seen = structure.parity.T @ seen.astype(np.float64)  # significant moments that it would not leave
    inside = np.asarray(sets @ (1 - random) == 0) & (odd_seen == 0)
    known = np.array([np.exp(a[k] - single[list(s)].min()) for k, s in enumerate(structure.detector_sets)])
    candidates = np.flatnonzero(inside & (noise <= _HALF_WIDTH * known))
    vanishing = np.flatnonzero(usable & ~seen & np.asarray(subsets @ random > 0))
    cover = structure.parity[vanishing][:, candidates]
    class_of = time_translation_classes(structure, ends_apart=False)[candidates]
    of_sets, cost = _with_classes(_cost(a[candidates]), class_of)
    chosen = _cheapest_cover((cover @ of_sets)[np.asarray(cover.sum(axis=1)).ravel() > 0], cost)
    return tuple(structure.detector_sets[k] for k in candidates[of_sets @ chosen > 0])


def _cheapest_cover(cover: sp.csr_matrix, cost: np.ndarray) -> np.ndarray:
    """Columns of least cost of which every row has one, float64 (columns,), 0 or 1; none if time is up."""
    if not cover.shape[0]:
        return np.zeros(len(cost))
    result = scipy.optimize.milp(
        cost,
        integrality=np.ones(len(cost)),
        bounds=scipy.optimize.Bounds(0, 1),
        constraints=[scipy.optimize.LinearConstraint(cover, 1, np.inf)],
        options={"time_limit": _SECONDS},
    )
    return np.round(result.x) if result.success else np.zeros(len(cost))


def _cost(a: np.ndarray) -> np.ndarray:
    """ln((1 - p) / p) of p = (1 - exp(-a)) / 2."""
    return 2 * np.arctanh(np.exp(-a))


def _with_classes(cost: np.ndarray, class_of: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Choices, each set and each class of several, a class at the mean cost of its sets.

    Returns:
        float64 0/1 (sets, choices), the sets of each choice, and float64 (choices,), costs.
    """
    numbers, member, size = np.unique(class_of, return_inverse=True, return_counts=True)
    shape = (len(cost), len(numbers))
    classes = sp.csr_matrix((np.ones(len(cost)), (np.arange(len(cost)), member)), shape=shape)
    several = np.flatnonzero(size > 1)
    mean = (classes.T @ cost) / np.maximum(size, 1)
    choices = sp.hstack([sp.eye_array(len(cost)), classes[:, several]]).tocsr()
    return choices, np.concatenate([cost, mean[several]])


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
        of_sets, costs = _with_classes(cost, class_of)
        return cls((sets.T @ of_sets).tocsr(), of_sets, costs, flipped)

    def best_two(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Sets of the best solution, and of the next if it is nearly as likely; None where there is none."""
        first = self._solve([])
        if first is None:
            return None, None
        cuts = [first]
        for _ in range(3):  # a class and all of its members are two ways to say the same
            other = self._solve(cuts)
            if other is None:
                return self._sets(first), None
            if not np.array_equal(self._sets(first), self._sets(other)):
                return self._sets(first), self._sets(other)
            cuts.append(other)
        return self._sets(first), None

    def _sets(self, x: np.ndarray) -> np.ndarray:
        return np.flatnonzero((self.of_sets @ x) % 2)

    def _solve(self, cuts: list[np.ndarray]) -> np.ndarray | None:
        """float64 (sets and classes,), 0 or 1; None where there is none, or time is up.

        Args:
            cuts: solutions that do not count; what is found is nearly as likely as the first of them.
        """
        detectors, choices = self.flips.shape
        most = np.asarray(self.flips.sum(axis=1)).ravel()
        matrix = sp.hstack([self.flips, -2 * sp.eye_array(detectors)])
        wanted = self.flipped.astype(float)
        constraints = [scipy.optimize.LinearConstraint(matrix, wanted, wanted)]
        if cuts:  # what costs more is not looked for
            row = np.concatenate([self.cost, np.zeros(detectors)])
            constraints.append(
                scipy.optimize.LinearConstraint(row[None], -np.inf, self.cost @ cuts[0] - np.log(_DOUBT))
            )
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
