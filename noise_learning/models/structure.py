"""What can go wrong where: the mechanisms of a DEM, without belief in their probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import stim

from noise_learning.moments.subsets import Subsets, incidence
from qec.dem import Component, detector_coordinates, mechanisms

# A circuit's DEM is only a first guess: a probability (or 1 - p, above 1/2) outside this range says nothing.
_PRIOR_RANGE = (1e-9, 0.45)


@dataclass(frozen=True)
class MechanismSymptoms:
    """What one `error` instruction flips, and the components that the DEM suggests for it."""

    detectors: tuple[int, ...]
    observables: tuple[int, ...]
    components: tuple[Component, ...]


@dataclass(frozen=True, eq=False)
class Structure:
    """The mechanisms of a DEM and what syndromes can tell about them.

    Mechanisms with equal detectors share one *detector set*: no syndrome tells them apart.

    Attributes:
        mechanisms: the DEM's `error` instructions, loops unrolled, in order.
        prior: float64 (mechanisms,), the DEM's probabilities, a first guess in (0, 0.5); 1 - p if `certain`.
        certain: bool (mechanisms,), true where the DEM's probability is above 1/2: such an error is one that
            always happens and one of probability 1 - p.
        detector_sets: the distinct nonempty detector sets, ascending detectors.
        set_of: int64 (mechanisms,), index of a mechanism's detector set; -1 where it has no detectors.
        num_detectors, num_observables: as the DEM counts them.
        coordinates: per detector its coordinates, empty where it has none.
        left_out: detectors that are not looked at; they are in no detector set.
    """

    mechanisms: tuple[MechanismSymptoms, ...]
    prior: np.ndarray
    certain: np.ndarray
    detector_sets: tuple[tuple[int, ...], ...]
    set_of: np.ndarray
    num_detectors: int
    num_observables: int
    coordinates: tuple[tuple[float, ...], ...]
    left_out: frozenset[int] = frozenset()

    @classmethod
    def from_dem(cls, dem: stim.DetectorErrorModel) -> Structure:
        """Reads every `error` instruction; equal ones (same components) become one mechanism.

        Raises:
            ValueError: the DEM has no mechanism that a detector sees.
        """
        rates: dict[MechanismSymptoms, float] = {}
        for read in (mechanism for mechanism in mechanisms(dem) if mechanism.components):
            found = MechanismSymptoms(*read.symptoms, read.components)
            before = rates.get(found, 0.0)
            rates[found] = before * (1 - read.probability) + read.probability * (1 - before)
        probabilities = np.fromiter(rates.values(), dtype=np.float64, count=len(rates))
        certain = probabilities > 0.5
        structure = cls.of_mechanisms(
            tuple(rates),
            np.clip(np.where(certain, 1 - probabilities, probabilities), *_PRIOR_RANGE),
            certain,
            num_observables=dem.num_observables,
            coordinates=tuple(map(tuple, detector_coordinates(dem))),
        )
        if not structure.detector_sets:
            raise ValueError(
                f"the DEM has {len(structure.mechanisms)} mechanisms and none flips a detector, so there is "
                "nothing to learn; give a circuit or DEM with noise (any rates: only the structure counts)"
            )
        return structure

    @classmethod
    def of_mechanisms(
        cls,
        mechanisms: Sequence[MechanismSymptoms],
        prior: np.ndarray,
        certain: np.ndarray,
        *,
        num_observables: int,
        coordinates: Sequence[tuple[float, ...]],
    ) -> Structure:
        """The structure of distinct mechanisms; see the attributes."""
        detector_sets, set_of = _detector_sets([m.detectors for m in mechanisms])
        return cls(
            mechanisms=tuple(mechanisms),
            prior=prior,
            certain=certain,
            detector_sets=detector_sets,
            set_of=set_of,
            num_detectors=len(coordinates),
            num_observables=num_observables,
            coordinates=tuple(coordinates),
        )

    def simplified(self) -> Structure:
        """One mechanism for equal detectors and observables, with the fewest of the suggested components.

        Stim suggests several decompositions where circuit faults with equal symptoms differ; the physics is
        the same. Matching with correlations does better with fewest components, in simulation (about 2 %)
        and on devices, and Google's p_ij DEMs are made so. Of equally few the likeliest is kept.
        """
        kept: list[int] = []
        prior: list[float] = []
        certain: list[bool] = []
        for places in self.by_symptoms.values():
            kept.append(min(places, key=lambda j: (len(self.mechanisms[j].components), -self.prior[j])))
            prior.append(float(probability(attenuation(self.prior[places]).sum())))
            certain.append(bool(np.count_nonzero(self.certain[places]) % 2))
        return replace(
            self,
            mechanisms=tuple(self.mechanisms[j] for j in kept),
            prior=np.clip(prior, *_PRIOR_RANGE),
            certain=np.array(certain),
            set_of=self.set_of[kept],
        )

    def without(self, detectors: Iterable[int]) -> Structure:
        """What is left to learn where some detectors are not looked at.

        Mechanisms that differ in these detectors only share a detector set; those that flip no other one
        have none. The mechanisms and their numbers stay.
        """
        left_out = self.left_out.union(detectors)
        sets, set_of = _detector_sets(
            [tuple(d for d in m.detectors if d not in left_out) for m in self.mechanisms]
        )
        return replace(self, detector_sets=sets, set_of=set_of, left_out=left_out)

    @cached_property
    def merged(self) -> np.ndarray:
        """bool (detector sets,): whether one of its mechanisms also flips a detector that is left out."""
        touched = [not self.left_out.isdisjoint(m.detectors) for m in self.mechanisms]
        return self.membership @ np.array(touched, dtype=np.float64) > 0

    @property
    def given(self) -> np.ndarray:
        """float64 (mechanisms,): the DEM's probabilities themselves, above 1/2 where `certain`."""
        return np.where(self.certain, 1 - self.prior, self.prior)

    @cached_property
    def certain_flips(self) -> np.ndarray:
        """bool (detectors,): whether an odd number of `certain` mechanisms flips the detector."""
        return self.flips_of(self.certain)

    def flips_of(self, mechanisms: np.ndarray) -> np.ndarray:
        """bool (detectors,): which detectors the given mechanisms, bool (mechanisms,), flip together."""
        flips = np.zeros(self.num_detectors, dtype=bool)
        for j in np.flatnonzero(mechanisms):
            flips[list(self.mechanisms[j].detectors)] ^= True
        return flips

    @classmethod
    def from_circuit(cls, circuit: stim.Circuit) -> Structure:
        """The structure of a noisy circuit, decomposed into edges as Stim suggests.

        What Stim cannot decompose stays whole.

        Raises:
            ValueError: the circuit has no noise that a detector sees, or no DEM.
        """
        try:
            dem = circuit.detector_error_model(
                decompose_errors=True, approximate_disjoint_errors=True, ignore_decomposition_failures=True
            )
        except ValueError as error:
            first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()]
            named = next((line for line in rest if line.startswith(("D", "L"))), "")
            raise ValueError(f"Stim makes no DEM of the circuit: {first} {named}".rstrip()) from error
        return cls.from_dem(dem)

    @cached_property
    def subsets(self) -> Subsets:
        """All nonempty subsets of all detector sets: the moments that the estimators need."""
        return Subsets.of_sets(self.detector_sets, num_detectors=self.num_detectors)

    @cached_property
    def parity(self) -> sp.csr_matrix:
        """float64 0/1 (subsets, detector sets): 1 where they share an odd number of detectors.

        b = parity @ a: see `noise_learning`.
        """
        return _odd(self.subsets.incidence, incidence(self.detector_sets, columns=self.num_detectors))

    @cached_property
    def other_parity(self) -> sp.csr_matrix:
        """Like `parity`, of the subsets that are no mechanism's detector set: (subsets, other subsets)."""
        known = set(self.detector_sets)
        others = [k for k in range(len(self.subsets)) if self.subsets.detectors(k) not in known]
        return _odd(self.subsets.incidence, self.subsets.incidence[others])

    @cached_property
    def membership(self) -> sp.csr_matrix:
        """float64 0/1 (detector sets, mechanisms): which mechanisms have that detector set."""
        seen = np.flatnonzero(self.set_of >= 0)
        shape = (len(self.detector_sets), len(self.mechanisms))
        return sp.csr_matrix((np.ones(len(seen)), (self.set_of[seen], seen)), shape=shape)

    @cached_property
    def by_symptoms(self) -> dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]]:
        """Mechanisms of given (detectors, observables); they differ in components."""
        found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for j, mechanism in enumerate(self.mechanisms):
            found.setdefault((mechanism.detectors, mechanism.observables), []).append(j)
        return found

    @cached_property
    def prior_attenuation(self) -> np.ndarray:
        """float64 (detector sets,): a = -ln(1 - 2 p) of the prior, summed over a set's mechanisms."""
        return self.membership @ attenuation(self.prior)

    def split(self, set_attenuation: np.ndarray, *, by: np.ndarray | None = None) -> np.ndarray:
        """Attenuations of mechanisms, float64 (mechanisms,), from those of detector sets.

        Syndromes do not tell mechanisms of one detector set apart: they share its attenuation in proportion
        to `by`, float64 (mechanisms,), by default the prior's attenuations. A mechanism without detectors
        keeps `by`.
        """
        share = attenuation(self.prior) if by is None else by
        total = self.membership @ share
        seen = self.set_of >= 0
        result = share.copy()
        result[seen] *= (set_attenuation / total)[self.set_of[seen]]
        return result


def attenuation(p: np.ndarray) -> np.ndarray:
    """a = -ln |1 - 2 p|, the same for 1 - p: adds up over independent mechanisms with equal detectors."""
    return -np.log1p(-2 * np.minimum(p, 1 - np.asarray(p)))


def probability(a: np.ndarray) -> np.ndarray:
    """p = (1 - exp(-a)) / 2, the inverse of `attenuation` below 1/2."""
    return -np.expm1(-a) / 2


def _detector_sets(sets: Sequence[tuple[int, ...]]) -> tuple[tuple[tuple[int, ...], ...], np.ndarray]:
    """The distinct nonempty sets, by size, then lexicographic; int64 (sets,), the number of each or -1."""
    distinct = sorted(set(filter(None, sets)), key=lambda s: (len(s), s))
    index = {detectors: k for k, detectors in enumerate(distinct)}
    return tuple(distinct), np.array([index.get(s, -1) for s in sets], dtype=np.int64)


def _odd(rows: sp.csr_matrix, columns: sp.csr_matrix) -> sp.csr_matrix:
    """float64 0/1 (rows, columns): 1 where two sets, given by incidence, share an odd number of elements."""
    product = (rows @ columns.T).tocsr()
    product.data %= 2
    product.eliminate_zeros()
    return product.astype(np.float64)
