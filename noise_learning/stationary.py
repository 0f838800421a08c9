"""Devices with noise that no circuit model has: the closed form, shrunk to what is the same in all rounds.

The closed form does not mind correlations of no mechanism: each set of detectors has its own equation. It is
shrunk, mechanism by mechanism, towards the mean over its time translations; how far, the scatter about that
mean beyond the sampling error says. Then, as strengths are positive, the answer is the mean of what is
left of the posterior above 0: an estimate that is not above its error means "about as small as the error",
and neither 0 nor a fraction of a guess.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from noise_learning.closed_form import closed_form_matrix, closed_form_variances
from noise_learning.equations import Equations, dropped_notes, dropped_sets
from noise_learning.fit import (
    NoiseFit,
    bounded_probability,
    chi_squared,
    clipped,
    mechanism_sigma,
    prior_scale,
)
from noise_learning.moments import Moments
from noise_learning.orbits import time_orbits
from noise_learning.structure import Structure

_LEAST_SCATTER = 0.01  # relative; below, rounds are taken as equal
# Weights of the mean and of the scatter guard against sets whose sampling error is tiny.
_SOFTENING = 0.3


def fit_stationary(moments: Moments, structure: Structure) -> NoiseFit:
    """Every mechanism by the closed form, shrunk towards its time translations.

    Needs detector coordinates, the last of them time; a mechanism without translations is not shrunk.

    Raises:
        ValueError: the moments are of no shots.
    """
    equations = Equations.of(moments)
    matrix = closed_form_matrix(structure)
    raw = matrix @ equations.b
    known = np.asarray(abs(matrix) @ (~equations.valid).astype(float)) == 0
    prior = prior_scale(structure, np.where(known, raw, 0.0), where=known) * structure.prior_strength
    raw = np.where(known, raw, prior)
    rough = clipped(raw, towards=prior)
    variance = np.where(
        known, closed_form_variances(structure, matrix, rough, shots=equations.shots), prior**2
    )
    variance = np.maximum(variance, (1e-3 * prior) ** 2)  # where nothing fired, the model has no variance

    orbit = time_orbits(structure)
    weight = 1 / (variance + (_SOFTENING * np.maximum(raw, prior)) ** 2)
    total = np.bincount(orbit, weight)
    centre = positive_mean(np.bincount(orbit, weight * raw) / total, total**-0.5)[orbit]
    scatter = _relative_scatter(raw, centre, variance, np.bincount(orbit)[orbit])
    departures = np.where(np.bincount(orbit)[orbit] > 1, (scatter * centre) ** 2, np.inf)
    keep = 1 / (1 + variance / departures)  # share of the closed form in the answer
    spread = np.sqrt(keep * variance + (1 - keep) ** 2 / total[orbit])
    a = clipped(
        positive_mean(centre + keep * (raw - centre), np.sqrt(keep * variance)), towards=np.zeros(len(raw))
    )
    split = structure.split(a)
    chi2, rows = chi_squared(structure, equations, a)
    note = f"closed form shrunk to the mean over rounds, from which strengths scatter by {scatter:.0%}"
    return NoiseFit(
        structure=structure,
        estimator="hybrid",
        p=bounded_probability(split),
        sigma=mechanism_sigma(structure, split, a, spread),
        assumed=structure.prior,
        chi2=chi2,
        dof=rows,
        shots=equations.shots,
        dropped=dropped_sets(structure, equations.valid),
        notes=(*dropped_notes(structure, equations.valid), note),
    )


def positive_mean(mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mean of a normal distribution cut off below 0, elementwise; always positive where sigma is."""
    z = mean / sigma
    density = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    # Far below 0 the two terms cancel; there the mean is sigma / |z| to leading order.
    return np.where(z > -20, mean + sigma * density, sigma / np.maximum(-z, 1.0))


def _relative_scatter(raw: np.ndarray, centre: np.ndarray, variance: np.ndarray, size: np.ndarray) -> float:
    """How much translations differ from their mean beyond sampling error, relative to it."""
    shared = size > 1
    if not shared.any():
        return _LEAST_SCATTER
    free = 1 - 1 / size[shared]
    square, noise = centre[shared] ** 2, variance[shared]
    weight = square / (noise + _SOFTENING**2 * square) ** 2
    excess = np.sum(weight * ((raw - centre)[shared] ** 2 - noise * free))
    return float(np.sqrt(max(excess / np.sum(weight * square * free), _LEAST_SCATTER**2)))
