"""Devices with noise that no circuit model has: the closed form, shrunk to what is the same in all rounds.

The closed form does not mind pairs that are correlated by no mechanism: each set of detectors has its own
equation. But what flips many detectors in many rounds, leakage above all, counts in several pairs, and what
is left for single detectors is too little, below 0 even. How far below 0 the means over all rounds are beyond
their sampling error is an error of the method, at least, and taken to be that of all sets of as many
detectors. Attenuations are positive, and of all positive distributions with a given mean the exponential one
says least: the mean over rounds is that of the posterior under it, the circuit's guess, scaled, being the
prior's mean. Rounds scatter about it as far as the data ask for.

Experiments of several numbers of rounds on one patch have their means in common, so that all of them say what
one is, and what it would be in an experiment of yet another length.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr

from noise_learning.estimators.attenuations import bounded_probability, clipped
from noise_learning.estimators.fit import NoiseFit, mechanism_sigma
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.round_trend import RoundTrend
from noise_learning.estimators.time_classes import SOFTENING, Alone, MeasuredSets, TimeClasses
from noise_learning.models.structure import Structure
from noise_learning.models.time_translations import time_translation_keys
from noise_learning.moments.moments import Moments

__all__ = ["StationaryNoise", "fit_stationary", "fit_stationary_jointly", "positive_moments"]

_LEAST_SCATTER = 0.01  # relative; below, rounds are taken as equal


class ClassMean(NamedTuple):
    """What time translations share: their mean attenuation, its variance, and the mean of their times."""

    attenuation: float
    variance: float
    time: float


@dataclass(frozen=True, eq=False)
class StationaryNoise:
    """Noise that is the same in all rounds but the first and the last, and what each experiment says beyond.

    Attributes:
        fits: one per experiment, in the order given.
        means: by what time translations have in common (`time_translation_keys`).
        scatter: how much rounds and experiments differ from these means beyond sampling, relative to them.
        scale: by the number of detectors of a set, how much larger means are than the guess.
        trends: by the number of detectors, how rates change with the round.
    """

    fits: tuple[NoiseFit, ...]
    means: Mapping[Hashable, ClassMean]
    scatter: float
    scale: Mapping[int, float]
    trends: Mapping[int, RoundTrend]

    def predict(self, structure: Structure) -> NoiseFit:
        """What an experiment of another number of rounds should have: the means alone.

        Sets that no experiment had a translation of keep the structure's guess, scaled; a note counts them.
        """
        sizes = [len(detectors) for detectors in structure.detector_sets]
        usual = np.array([self.scale.get(size, 1.0) for size in sizes]) * structure.prior_attenuation
        found = [self.means.get(key) for key in time_translation_keys(structure)]
        unknown = np.array([one is None for one in found])
        a = np.where(unknown, usual, [0.0 if one is None else one.attenuation for one in found])
        variance = np.where(unknown, usual**2, [0.0 if one is None else one.variance for one in found])
        notes = (f"predicted from {len(self.fits)} experiments of other numbers of rounds",)
        if unknown.any():
            notes += (
                f"{np.count_nonzero(unknown)} of {len(sizes)} detector sets have no time translation in "
                "those experiments and keep the given rates, scaled",
            )
        split, spread = structure.split(a), np.sqrt(variance + (self.scatter * a) ** 2)
        return NoiseFit(
            structure=structure,
            estimator="stationary",
            p=bounded_probability(split, shots=0.0),
            sigma=mechanism_sigma(structure, split, a, spread),
            assumed=structure.given,
            chi2=0.0,
            dof=0,
            shots=0.0,
            notes=notes,
        )


def fit_stationary(moments: Moments | LearningData, structure: Structure) -> NoiseFit:
    """Every mechanism by the closed form, shrunk towards its time translations.

    Needs detector coordinates, the third of them time; a mechanism without translations is its own mean.

    Raises:
        ValueError: the moments are of too few shots, or of other subsets.
    """
    return fit_stationary_jointly([LearningData.of(moments, structure)]).fits[0]


def fit_stationary_jointly(experiments: Sequence[LearningData]) -> StationaryNoise:
    """The same for several experiments on one patch, whose time translations have one mean.

    Raises:
        ValueError: no experiment.
    """
    if not experiments:
        raise ValueError("no experiment is given; give at least one")
    sets = MeasuredSets.of(experiments)
    classes = TimeClasses.of(sets)
    unexplained = classes.unexplained()
    centre, left = positive_moments(
        classes.mean - (classes.error + unexplained) / classes.usual, np.sqrt(classes.error + unexplained)
    )
    number, variance = classes.number, sets.variance
    deviation = sets.a - classes.mean[number]
    scatter = _relative_scatter(deviation, centre[number], variance, classes.count[number])
    keep = 1 / (1 + variance / (scatter * centre[number]) ** 2)  # share of the deviation in the answer
    a, _ = positive_moments(centre[number] + keep * deviation, np.sqrt(keep * variance))
    spread = np.sqrt(left[number] + keep * variance * (1 - 1 / classes.count[number]))
    note = _note(scatter, classes, unexplained, experiments=len(experiments))
    fits = tuple(
        NoiseFit.of_sets(
            data,
            clipped(a[part], towards=np.zeros(part.stop - part.start), shots=data.shots),
            spread[part],
            estimator="stationary",
            free=0,
            notes=(note,),
        )
        for data, part in zip(experiments, sets.parts, strict=True)
    )
    means = {
        key: ClassMean(float(centre[k]), float(left[k]), float(classes.time[k]))
        for key, k in zip(sets.keys, number, strict=True)
        if not isinstance(key, Alone)
    }
    trends = RoundTrend.by_size(sets, classes, centre)
    return StationaryNoise(fits, means, scatter, _scales(centre[number], sets, experiments), trends)


def positive_moments(mean: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a normal distribution cut off below 0, elementwise; sigma > 0, so is the mean."""
    z = mean / sigma
    density = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    # Far below 0 terms cancel; there it is exponential, with mean sigma / |z| to leading order.
    near = z > -20
    first = np.where(near, mean + sigma * density, sigma / np.maximum(-z, 1.0))
    return first, np.where(near, np.clip(sigma**2 + mean * first - first**2, 0.0, sigma**2), first**2)


def _scales(centre: np.ndarray, sets: MeasuredSets, experiments: Sequence[LearningData]) -> dict[int, float]:
    """By number of detectors, the sum of `centre` over that of the guess."""
    guess = np.concatenate([data.structure.prior_attenuation for data in experiments])
    learned, given = np.bincount(sets.size, centre), np.bincount(sets.size, guess)
    return {int(size): float(learned[size] / given[size]) for size in np.unique(sets.size)}


def _relative_scatter(
    deviation: np.ndarray, centre: np.ndarray, variance: np.ndarray, size: np.ndarray
) -> float:
    """How much translations differ from their mean beyond sampling error, relative to it."""
    shared = size > 1
    if not shared.any():
        return _LEAST_SCATTER
    free = 1 - 1 / size[shared]
    square, noise = centre[shared] ** 2, variance[shared]
    weight = square / (noise + SOFTENING**2 * square) ** 2
    excess = np.sum(weight * (deviation[shared] ** 2 - noise * free))
    return float(np.sqrt(max(excess / np.sum(weight * square * free), _LEAST_SCATTER**2)))


def _note(scatter: float, classes: TimeClasses, unexplained: np.ndarray, *, experiments: int) -> str:
    errors = {int(k): float(np.sqrt(v)) for k, v in zip(classes.detectors, unexplained, strict=True) if v > 0}
    over = "over rounds" if experiments == 1 else f"over the rounds of {experiments} experiments"
    text = f"closed form shrunk to the mean {over}, from which attenuations scatter by {scatter:.0%}"
    if not errors:
        return text
    parts = ", ".join(f"{errors[k]:.2g} for sets of {k}" for k in sorted(errors))
    return f"{text}; estimates below 0 show an error beyond sampling, of attenuations: {parts}"
