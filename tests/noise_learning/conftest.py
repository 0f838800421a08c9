"""Moments without sampling noise: what infinitely many shots of a DEM would give."""

from collections.abc import Callable

import numpy as np
import pytest

from noise_learning import Moments, Structure, attenuation

# Large enough that the bias correction of the logarithm vanishes.
SHOTS = 1e15


@pytest.fixture(scope="session")
def exact_moments() -> Callable[[Structure, np.ndarray], Moments]:
    return _exact_moments


@pytest.fixture(scope="session")
def set_attenuations() -> Callable[[Structure, np.ndarray], np.ndarray]:
    """float64 (detector sets,): attenuations that syndromes can determine."""
    return lambda structure, p: structure.membership @ attenuation(p)


def _exact_moments(structure: Structure, p: np.ndarray) -> Moments:
    """Of independent mechanisms with probabilities p, float64 (mechanisms,), one product at a time."""
    means = np.ones(len(structure.subsets))
    for mechanism, rate in zip(structure.mechanisms, p, strict=True):
        flips = set(mechanism.detectors)
        for row in range(len(means)):
            if len(flips & set(structure.subsets.detectors(row))) % 2:
                means[row] *= 1 - 2 * rate
    return Moments(structure.subsets, SHOTS * (1 - means) / 2, SHOTS, SHOTS)
