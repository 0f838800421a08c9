"""Devices with noise that no circuit model has: the closed form, shrunk to what is the same in all rounds.

The closed form does not mind pairs that are correlated by no mechanism: each set of detectors has its own
equation. But what flips many detectors in many rounds, leakage above all, counts in several pairs, and what
is left for single detectors is too little, below 0 even. How far below 0 the means over all rounds are beyond
their sampling error is an error of the method, at least, and taken to be that of all sets of as many
detectors. Attenuations are positive, and of all positive distributions with a given mean the exponential one
says least: the mean over rounds is that of the posterior under it, the circuit's guess, scaled, being the
prior's mean. Rounds scatter about it as far as the data ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from noise_learning.estimators.attenuations import clipped
from noise_learning.estimators.fit import NoiseFit
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.raw_attenuations import RawAttenuations, closed_form_variances
from noise_learning.models.structure import Structure
from noise_learning.models.time_translations import time_translation_classes
from noise_learning.moments.moments import Moments

_LEAST_SCATTER = 0.01  # relative; below, rounds are taken as equal
# Weights of the mean and of the scatter guard against sets whose sampling error is tiny.
_SOFTENING = 0.3
# Of the guess for all sets of a size, not below this fraction of what the other sizes suggest.
_LEAST_SCALE = 0.1


def fit_stationary(moments: Moments | LearningData, structure: Structure) -> NoiseFit:
    """Every mechanism by the closed form, shrunk towards its time translations.

    Needs detector coordinates, the third of them time; a mechanism without translations is its own mean.

    Raises:
        ValueError: the moments are of too few shots, or of other subsets.
    """
    data = LearningData.of(moments, structure)
    structure, raw = data.structure, data.raw
    variance = _sampling_variances(raw, structure)
    classes = _TimeClasses.of(raw, variance, structure)
    unexplained = classes.unexplained()
    centre, left = positive_moments(
        classes.mean - (classes.error + unexplained) / classes.usual, np.sqrt(classes.error + unexplained)
    )
    number = classes.number
    deviation = raw.a - classes.mean[number]
    scatter = _relative_scatter(deviation, centre[number], variance, classes.size[number])
    keep = 1 / (1 + variance / (scatter * centre[number]) ** 2)  # share of the deviation in the answer
    a, _ = positive_moments(centre[number] + keep * deviation, np.sqrt(keep * variance))
    a = clipped(a, towards=np.zeros(len(a)), shots=data.shots)
    spread = np.sqrt(left[number] + keep * variance * (1 - 1 / classes.size[number]))
    return NoiseFit.of_sets(
        data,
        a,
        spread,
        estimator="stationary",
        free=0,
        notes=(_note(scatter, classes, unexplained),),
    )


def positive_moments(mean: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a normal distribution cut off below 0, elementwise; sigma > 0, so is the mean."""
    z = mean / sigma
    density = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    # Far below 0 terms cancel; there it is exponential, with mean sigma / |z| to leading order.
    near = z > -20
    first = np.where(near, mean + sigma * density, sigma / np.maximum(-z, 1.0))
    return first, np.where(near, np.clip(sigma**2 + mean * first - first**2, 0.0, sigma**2), first**2)


@dataclass(frozen=True, eq=False)
class _TimeClasses:
    """Detector sets that are time translations of each other, together.

    Attributes:
        number: int64 (detector sets,), the class of each.
        size: int64 (classes,), sets in it.
        detectors: int64 (classes,), detectors of each of its sets.
        mean: float64 (classes,), of the closed form.
        error: float64 (classes,), sampling variance of `mean`.
        usual: float64 (classes,), mean of the guess, scaled to all sets of as many detectors.
    """

    number: np.ndarray
    size: np.ndarray
    detectors: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, raw: RawAttenuations, variance: np.ndarray, structure: Structure) -> _TimeClasses:
        number = time_translation_classes(structure)
        size = np.bincount(number)
        plain = np.maximum(np.bincount(number, raw.a) / size, 0.0)
        weight = 1 / (variance + (_SOFTENING * plain[number]) ** 2)
        total = np.bincount(number, weight)
        detectors = np.array([len(detectors) for detectors in structure.detector_sets])
        sums = np.bincount(detectors, raw.a), np.bincount(detectors, raw.prior)
        scale = np.maximum(sums[0] / np.where(sums[1] > 0, sums[1], 1.0), _LEAST_SCALE)
        return cls(
            number=number,
            size=size,
            detectors=np.bincount(number, detectors).astype(np.int64) // size,
            mean=np.bincount(number, weight * raw.a) / total,
            error=np.bincount(number, weight**2 * variance) / total**2,
            usual=np.bincount(number, weight * (scale[detectors] * raw.prior)) / total,
        )

    def unexplained(self) -> np.ndarray:
        """float64 (classes,): variance of `mean` beyond sampling, by number of detectors.

        From the means below 0, of which attenuations of 0 and sampling explain mean squares up to `error`.
        """
        found = np.zeros(len(self.mean))
        for count in np.unique(self.detectors):
            alike = self.detectors == count
            below = alike & (self.mean < 0)
            if below.any():
                found[alike] = max(float(np.mean(self.mean[below] ** 2 - self.error[below])), 0.0)
        return found


def _sampling_variances(raw: RawAttenuations, structure: Structure) -> np.ndarray:
    """float64 (detector sets,), all > 0: where nothing fired, the model has no variance."""
    rough = clipped(raw.a, towards=raw.prior, shots=raw.equations.shots)
    measured = closed_form_variances(structure, raw.matrix, rough, shots=raw.equations.shots)
    return np.maximum(np.where(raw.known, measured, raw.prior**2), (1e-3 * raw.prior) ** 2)


def _relative_scatter(
    deviation: np.ndarray, centre: np.ndarray, variance: np.ndarray, size: np.ndarray
) -> float:
    """How much translations differ from their mean beyond sampling error, relative to it."""
    shared = size > 1
    if not shared.any():
        return _LEAST_SCATTER
    free = 1 - 1 / size[shared]
    square, noise = centre[shared] ** 2, variance[shared]
    weight = square / (noise + _SOFTENING**2 * square) ** 2
    excess = np.sum(weight * (deviation[shared] ** 2 - noise * free))
    return float(np.sqrt(max(excess / np.sum(weight * square * free), _LEAST_SCATTER**2)))


def _note(scatter: float, classes: _TimeClasses, unexplained: np.ndarray) -> str:
    errors = {int(k): float(np.sqrt(v)) for k, v in zip(classes.detectors, unexplained, strict=True) if v > 0}
    text = f"closed form shrunk to the mean over rounds, from which attenuations scatter by {scatter:.0%}"
    if not errors:
        return text
    parts = ", ".join(f"{errors[k]:.2g} for sets of {k}" for k in sorted(errors))
    return f"{text}; estimates below 0 show an error beyond sampling, of attenuations: {parts}"
