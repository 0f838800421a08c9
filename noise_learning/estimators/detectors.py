"""Which detectors tell something of the noise, and which fire more often than not.

A detector that fires half the time has moments of zero, which have no logarithm: nothing is learned from it,
as from one that is dead or stuck. One that fires more often has negative moments: -m is the moment of the
detector with its sign turned, which fires less often than not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from noise_learning.models.structure import Structure
from noise_learning.moments.moments import Moments
from noise_learning.moments.subsets import Subsets

# A detector looks broken where it never fires though a tenth of the usual rate would have given so many
# events, or where it always fires in so many shots.
_USUAL_EVENTS = 20.0
_USUAL_SHARE = 0.1
# A detector is too near half the time where its moment is below this share of the usual one (one detector
# with an extra flip of 0.35 or more), what it has in common with one other detector is below this share of
# its attenuation (else a mechanism is that likely, which pairs tell), and its attenuation is known worse
# than to this share of the usual one.
_NEAR = 0.3
_COMMON = 0.25
_KNOWN = 0.01
# With this probability some detector that fires at random is taken for one that does not.
_MISTAKEN = 0.01


@dataclass(frozen=True, eq=False)
class DetectorStates:
    """What detectors do in the shots.

    Attributes:
        rate: float64 (detectors,), share of the shots in which each fires; NaN where no mechanism flips it.
        never, always: detectors that look broken, ascending.
        random: detectors whose rate cannot be told from one half.
        near: detectors that can be told from random ones, but whose moments are so uncertain, compared with
            what is usual, that nothing is learned from them but how often they fire.
        unexplained: detectors that fire more often than not, though no mechanism can be the reason.
        inverted: bool (detectors,), those of the others that fire more often than not.
        shots: effective number.
    """

    rate: np.ndarray
    never: tuple[int, ...]
    always: tuple[int, ...]
    random: tuple[int, ...]
    inverted: np.ndarray
    shots: float
    unexplained: tuple[int, ...] = ()
    near: tuple[int, ...] = ()

    @classmethod
    def of(cls, moments: Moments, structure: Structure) -> DetectorStates:
        """Raises:
        ValueError: no shots.
        """
        shots, rate = moments.effective_shots, np.full(structure.num_detectors, np.nan)
        rows = np.flatnonzero(moments.subsets.sizes == 1)
        detectors = moments.subsets.members[rows, 0]
        rate[detectors] = (1 - moments.means[rows]) / 2
        never, always = _broken(rate, shots)
        always &= ~structure.certain_flips  # the circuit may ask for it
        mean = np.where(never | always, np.nan, 1 - 2 * rate)
        random = _random(mean, shots)
        near = _near(mean, moments) & ~random
        noise = significant(int(np.isfinite(mean).sum())) / np.sqrt(shots)
        return cls(
            rate=rate,
            never=_numbers(never),
            always=_numbers(always),
            random=_numbers(random),
            inverted=(mean < -noise) & ~random & ~near,
            shots=shots,
            near=_numbers(near),
        )

    @property
    def left_out(self) -> tuple[int, ...]:
        """Detectors from which nothing is learned, ascending."""
        return tuple(sorted((*self.never, *self.always, *self.random, *self.near, *self.unexplained)))

    def leaving_out(self, unexplained: np.ndarray) -> DetectorStates:
        """The same, but some inverted detectors, bool (detectors,), are `unexplained`."""
        return replace(self, inverted=self.inverted & ~unexplained, unexplained=_numbers(unexplained))

    def signs(self, subsets: Subsets) -> np.ndarray:
        """float64 (subsets,), -1 where an odd number of a set's detectors is inverted, else 1."""
        if not self.inverted.any():
            return np.ones(len(subsets))
        return 1.0 - 2 * ((subsets.incidence @ self.inverted.astype(np.float32)) % 2)

    def used(self, subsets: Subsets) -> np.ndarray:
        """bool (subsets,), whether all detectors of a set are used."""
        left_out = np.zeros(len(self.rate), dtype=np.float32)
        left_out[list(self.left_out)] = 1
        return np.asarray(subsets.incidence @ left_out == 0)

    def notes(self, structure: Structure) -> tuple[str, ...]:
        """One sentence for each detector of which nothing is learned."""
        firing = self.rate[self.rate > 0]
        usual = f"; {self.shots * float(np.median(firing)):,.0f} events would be usual" if len(firing) else ""
        does = {
            **dict.fromkeys(self.never, f"never fires in {self.shots:,.0f} shots and looks broken{usual}"),
            **dict.fromkeys(self.always, f"always fires in {self.shots:,.0f} shots and looks broken"),
            **dict.fromkeys(self.random, "of {shots} shots, which cannot be told from one half"),
            **dict.fromkeys(self.near, "of {shots} shots, too near half the time for so many"),
            **dict.fromkeys(
                self.unexplained,
                "of {shots} shots, more than half, and no explanation by the circuit's noise was found",
            ),
        }
        notes = []
        for detector, text in sorted(does.items()):
            if "{" in text:
                text = f"fires in {self.rate[detector]:.1%} {text.format(shots=f'{self.shots:,.0f}')}"
            notes.append(f"{name_of(structure, detector)} {text}: its mechanisms are not learned")
        return tuple(notes)


def name_of(structure: Structure, detector: int) -> str:
    """Such as 'D3 at (1, 2, 0)'."""
    at = ", ".join(f"{x:g}" for x in structure.coordinates[detector])
    return f"D{detector} at ({at})" if at else f"D{detector}"


def fewest_shots(num_detectors: int) -> int:
    """Shots in which a detector that never fires can be told from one that fires half the time."""
    return math.ceil(significant(num_detectors) ** 2)


def significant(num_detectors: int) -> float:
    """Standard errors from 0 that moments of so many random detectors hardly ever reach."""
    return float(norm.isf(_MISTAKEN / (2 * max(num_detectors, 1))))


def _broken(rate: np.ndarray, shots: float) -> tuple[np.ndarray, np.ndarray]:
    """bool (detectors,) each: those that never fire where others do, and those that always do."""
    firing = rate[rate > 0]
    usual = shots * _USUAL_SHARE * float(np.median(firing)) if len(firing) else 0.0
    never = (rate == 0) & (usual > _USUAL_EVENTS)
    return never, (rate == 1) & (shots > _USUAL_EVENTS)


def _random(mean: np.ndarray, shots: float) -> np.ndarray:
    """bool (detectors,): moments within noise of zero, where a usual one is twice as far from it.

    At few shots, or if all detectors fire often, a moment within noise of zero is nothing special. All are
    random where together they are within noise of zero: then their squares add up to chi^2.

    Args:
        mean: float64 (detectors,), moments of single detectors; NaN for those that are not looked at.
    """
    known = np.isfinite(mean)
    size = np.abs(mean[known])
    noise = significant(len(size)) / np.sqrt(shots)
    excess = float(np.sum(size**2)) * shots - len(size)
    if excess <= 3 * np.sqrt(2 * len(size)):
        return known
    far = size[size >= noise]
    random = known.copy()
    random[known] = (size < noise) & (len(far) > 0) & (float(np.median(far) if len(far) else 0) >= 2 * noise)
    return random


def _near(mean: np.ndarray, moments: Moments) -> np.ndarray:
    """bool (detectors,): unusually close to random, and alone in that.

    All moments with such a detector have errors many times the others'. A fit of few parameters has none for
    one detector, and what one of every mechanism learns of its neighbours depends on the uncertain moments.

    Args:
        mean: float64 (detectors,), moments of single detectors; NaN for those that are not looked at.
    """
    shots, near = moments.effective_shots, np.zeros(len(mean), dtype=bool)
    size = np.abs(mean)
    known = np.isfinite(size)
    if not known.any():
        return near
    usual = float(np.median(size[known]))
    noise = significant(int(known.sum())) / np.sqrt(shots)
    if usual <= noise:  # all are as good as random
        return near
    error = 1 / (np.maximum(size, noise) * np.sqrt(shots))
    near[known] = (size[known] + noise < _NEAR * usual) & (error[known] > -_KNOWN * np.log(usual))
    if not near.any():
        return near
    rows = np.flatnonzero(moments.subsets.sizes == 2)
    pairs, product = moments.subsets.members[rows, :2], np.abs(moments.means[rows])
    # Attenuation of what flips both, -ln(m_1 m_2 / m_12) / 2, where all three moments tell.
    tells = (product > noise) & (size[pairs] > noise).all(axis=1)
    pairs, product = pairs[tells], product[tells]
    common = np.log(product / size[pairs].prod(axis=1)) / 2
    for detectors in pairs.T:
        near[detectors[common > -_COMMON * np.log(size[detectors])]] = False
    return near


def _numbers(detectors: np.ndarray) -> tuple[int, ...]:
    return tuple(int(d) for d in np.flatnonzero(detectors))
