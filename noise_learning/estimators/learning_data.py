"""What is fitted: the detectors that tell something, their equations, and which errors are above 1/2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from noise_learning.estimators.attenuations import clipped
from noise_learning.estimators.certain_errors import CertainErrors, explain, half_probable_sets
from noise_learning.estimators.data_notes import dropped_notes, mechanism_notes, near_notes
from noise_learning.estimators.detectors import DetectorStates, fewest_shots
from noise_learning.estimators.equations import Equations
from noise_learning.estimators.raw_attenuations import RawAttenuations
from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments


@dataclass(frozen=True, eq=False)
class LearningData:
    """Moments made ready for a fit.

    Attributes:
        whole: the structure that was given.
        structure: the same without the detectors that tell nothing.
        detectors: what detectors do.
        equations: of `structure.subsets`.
        certain: bool (mechanisms,), those whose probability is above 1/2.
        at_half: bool (mechanisms,), those that happen in half of the shots.
        near_half: by detector that fires too near half the time, the mechanism that flips it alone: as likely
            as makes the detector fire as often as it does.
        dropped: sets of detectors of `whole` whose equations are not used.
        notes: what to tell of all that.
    """

    whole: Structure
    structure: Structure
    detectors: DetectorStates
    equations: Equations
    certain: np.ndarray
    at_half: np.ndarray
    near_half: dict[int, int]
    dropped: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, moments: Moments | LearningData, structure: Structure) -> LearningData:
        """Find out which detectors are dead, stuck, random or inverted, and leave out what tells nothing.

        Args:
            moments: of `structure.subsets`; data that were made of them before are returned as they are.

        Raises:
            ValueError: too few shots, no detector that tells something, or moments of other subsets.
        """
        if isinstance(moments, LearningData):
            return moments
        detectors = DetectorStates.of(moments.restricted_to(structure.subsets), structure)
        _check_shots(detectors)
        used, equations = _equations(moments, structure, detectors)
        errors = _certain_errors(used, equations, detectors)
        if errors.unexplained.any():
            detectors = detectors.leaving_out(errors.unexplained)
            used, equations = _equations(moments, structure, detectors)
        certain = structure.certain ^ _likeliest(used, errors.sets)
        at_half = np.zeros(len(certain), dtype=bool)
        if detectors.random:
            scale = RawAttenuations.of(equations, used).scale
            at_half = _likeliest(structure, half_probable_sets(structure, moments, detectors, scale=scale))
        near_half = _near_half(structure, detectors)
        dropped = _dropped(structure, used, equations)
        return cls(
            whole=structure,
            structure=used,
            detectors=detectors,
            equations=equations,
            certain=certain,
            at_half=at_half,
            near_half=near_half,
            dropped=dropped,
            notes=(
                *detectors.notes(structure),
                *mechanism_notes(structure, used, errors, at_half),
                *near_notes(near_half),
                *dropped_notes(structure, dropped),
            ),
        )

    @property
    def shots(self) -> float:
        """Effective number of shots."""
        return self.detectors.shots

    @cached_property
    def raw(self) -> RawAttenuations:
        """The closed form of the equations."""
        return RawAttenuations.of(self.equations, self.structure)

    def probabilities(self, below: np.ndarray) -> np.ndarray:
        """float64 (mechanisms,): what was fitted with all mechanisms below 1/2, with those that are not.

        One at 1/2 is within one standard error of 1/2, the largest rate that so many shots tell from it.
        """
        p = np.where(self.certain, 1 - below, below)
        p = np.where(self.at_half, (1 - 1 / np.sqrt(self.shots)) / 2, p)
        for detector, j in self.near_half.items():
            moment = (1 - 2 * self.detectors.rate[detector]) / self._others_moment(detector, j, p)
            p[j] = np.clip((1 - moment) / 2, 1e-12, 1 - 1e-12)
        return p

    def errors(self, sigma: np.ndarray, p: np.ndarray) -> np.ndarray:
        """float64 (mechanisms,): standard errors of `probabilities`."""
        sigma = sigma.copy()
        at_half = [(self.whole.mechanisms[j].detectors[0], int(j)) for j in np.flatnonzero(self.at_half)]
        for detector, j in (*at_half, *self.near_half.items()):
            # 1 - 2 p is the moment of one of its detectors over that of all else that flips it.
            left = self._others_moment(detector, j, p)
            sigma[j] = min(1 / (abs(left) * np.sqrt(self.shots)), 1) / 2
        return sigma

    def _others_moment(self, detector: int, mechanism: int, p: np.ndarray) -> float:
        """The moment of a detector if one mechanism, and all at 1/2, did not happen."""
        others = [
            k
            for k, m in enumerate(self.whole.mechanisms)
            if detector in m.detectors and k != mechanism and not self.at_half[k]
        ]
        return float(np.prod(1 - 2 * p[others]))


def _check_shots(detectors: DetectorStates) -> None:
    count = int(np.isfinite(detectors.rate).sum())
    least = fewest_shots(count)
    if detectors.shots < least:
        raise ValueError(
            f"too few shots to learn from, {detectors.shots:,.0f}: to tell one of {count:,} detectors "
            f"that never fires from one that fires half the time takes {least}; give that many or more"
        )


def _equations(
    moments: Moments, structure: Structure, detectors: DetectorStates
) -> tuple[Structure, Equations]:
    """The structure of the detectors that are used, and its equations."""
    used = structure.without(detectors.left_out) if detectors.left_out else structure
    if not used.detector_sets:
        raise ValueError(
            f"nothing can be learned from {detectors.shots:,.0f} shots: no detector tells anything, "
            f"{len(detectors.random):,} fire in half of the shots, {len(detectors.always):,} always and "
            f"{len(detectors.never):,} never; are these the shots of this circuit, in the right format?"
        )
    return used, Equations.of(moments.restricted_to(used.subsets), detectors)


def _certain_errors(used: Structure, equations: Equations, detectors: DetectorStates) -> CertainErrors:
    looked_at = np.zeros(used.num_detectors, dtype=bool)
    looked_at[[d for members in used.detector_sets for d in members]] = True
    wanted = (detectors.inverted ^ used.certain_flips) & looked_at
    if not wanted.any():
        return CertainErrors((), (), np.zeros(used.num_detectors, dtype=bool))
    raw = RawAttenuations.of(equations, used)
    return explain(used, wanted, clipped(raw.a, towards=raw.prior, shots=detectors.shots))


def _likeliest(structure: Structure, sets: Sequence[tuple[int, ...]]) -> np.ndarray:
    """bool (mechanisms,): of each detector set, the mechanism that the prior says is likeliest."""
    chosen = np.zeros(len(structure.mechanisms), dtype=bool)
    numbers = {members: k for k, members in enumerate(structure.detector_sets)}
    for members in sets:
        here = np.flatnonzero(structure.set_of == numbers[members])
        chosen[here[np.argmax(structure.prior[here])]] = True
    return chosen


def _near_half(structure: Structure, detectors: DetectorStates) -> dict[int, int]:
    """By detector that fires too near half the time, the likeliest mechanism that flips it alone, if any."""
    sets = set(structure.detector_sets)
    alone = {d: _likeliest(structure, [(d,)]) for d in detectors.near if (d,) in sets}
    return {d: int(np.flatnonzero(chosen)[0]) for d, chosen in alone.items()}


def _dropped(structure: Structure, used: Structure, equations: Equations) -> tuple[tuple[int, ...], ...]:
    """The sets of the structure that are not used, or whose moment is within its error of zero."""
    if used is structure:
        return tuple(structure.subsets.detectors(int(k)) for k in np.flatnonzero(~equations.valid))
    kept = {used.subsets.detectors(int(k)) for k in np.flatnonzero(equations.valid)}
    every = map(structure.subsets.detectors, range(len(structure.subsets)))
    return tuple(detectors for detectors in every if detectors not in kept)
