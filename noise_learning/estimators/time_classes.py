"""The closed form of one or several experiments, and its means over sets that are time translations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from noise_learning.estimators.attenuations import clipped
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.raw_attenuations import RawAttenuations, closed_form_variances
from noise_learning.models.structure import Structure
from noise_learning.models.time_translations import number_classes, time_translation_keys
from qec import time_of

__all__ = ["Alone", "MeasuredSets", "TimeClasses"]

# Weights of the mean guard against sets whose sampling error is tiny.
SOFTENING = 0.3
# Of the guess for all sets of a size, not below this fraction of what the other sizes suggest.
_LEAST_SCALE = 0.1


class Alone(NamedTuple):
    """Key of a set without time translations: number of its experiment, and its own there."""

    experiment: int
    number: int


@dataclass(frozen=True, eq=False)
class MeasuredSets:
    """Detector sets of all experiments, one experiment after another.

    Attributes:
        keys: what time translations have in common, or `Alone`.
        a: float64 (sets,), of the closed form, some below 0.
        variance: float64 (sets,), its sampling variance, all > 0.
        prior: float64 (sets,), the guess, scaled to the experiment.
        size: int64 (sets,), detectors of each.
        time: float64 (sets,), from the experiment's first detector to the set's first; 0 without coordinates.
        parts: the sets of each experiment.
    """

    keys: list[Hashable]
    a: np.ndarray
    variance: np.ndarray
    prior: np.ndarray
    size: np.ndarray
    time: np.ndarray
    parts: tuple[slice, ...]

    @classmethod
    def of(cls, experiments: Sequence[LearningData]) -> MeasuredSets:
        """Solve the equations of each experiment."""
        keys: list[Hashable] = []
        parts: list[slice] = []
        for number, data in enumerate(experiments):
            found = time_translation_keys(data.structure)
            parts.append(slice(len(keys), len(keys) + len(found)))
            keys += [Alone(number, k) if key is None else key for k, key in enumerate(found)]
        structures = [data.structure for data in experiments]
        return cls(
            keys,
            np.concatenate([data.raw.a for data in experiments]),
            np.concatenate([_sampling_variances(data.raw, data.structure) for data in experiments]),
            np.concatenate([data.raw.prior for data in experiments]),
            np.array([len(detectors) for one in structures for detectors in one.detector_sets]),
            np.concatenate([set_times(one) for one in structures]),
            tuple(parts),
        )


@dataclass(frozen=True, eq=False)
class TimeClasses:
    """Detector sets that are time translations of each other, together.

    Attributes:
        number: int64 (sets,), the class of each.
        count: int64 (classes,), sets in it.
        detectors: int64 (classes,), detectors of each of its sets.
        mean: float64 (classes,), of the closed form.
        error: float64 (classes,), sampling variance of `mean`.
        usual: float64 (classes,), mean of the guess, scaled to all sets of as many detectors.
        time: float64 (classes,), mean of the sets' times, weighted as `mean` is.
    """

    number: np.ndarray
    count: np.ndarray
    detectors: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    usual: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, sets: MeasuredSets) -> TimeClasses:
        """Average over classes, the better known sets counting more."""
        number = number_classes(sets.keys)
        count = np.bincount(number)
        plain = np.maximum(np.bincount(number, sets.a) / count, 0.0)
        weight = 1 / (sets.variance + (SOFTENING * plain[number]) ** 2)
        total = np.bincount(number, weight)
        sums = np.bincount(sets.size, sets.a), np.bincount(sets.size, sets.prior)
        scale = np.maximum(sums[0] / np.where(sums[1] > 0, sums[1], 1.0), _LEAST_SCALE)
        return cls(
            number=number,
            count=count,
            detectors=np.bincount(number, sets.size).astype(np.int64) // count,
            mean=np.bincount(number, weight * sets.a) / total,
            error=np.bincount(number, weight**2 * sets.variance) / total**2,
            usual=np.bincount(number, weight * (scale[sets.size] * sets.prior)) / total,
            time=np.bincount(number, weight * sets.time) / total,
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


def set_times(structure: Structure) -> np.ndarray:
    """float64 (detector sets,): from the experiment's first detector to the set's first."""
    times = np.array([time_of(c) if c else 0.0 for c in structure.coordinates])
    first = times.min(initial=np.inf)
    return np.array([times[list(detectors)].min() - first for detectors in structure.detector_sets])


def _sampling_variances(raw: RawAttenuations, structure: Structure) -> np.ndarray:
    """float64 (detector sets,), all > 0: where nothing fired, the model has no variance."""
    rough = clipped(raw.a, towards=raw.prior, shots=raw.equations.shots)
    measured = closed_form_variances(structure, raw.matrix, rough, shots=raw.equations.shots)
    return np.maximum(np.where(raw.known, measured, raw.prior**2), (1e-3 * raw.prior) ** 2)
