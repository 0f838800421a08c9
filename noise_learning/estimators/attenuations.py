"""Attenuations within their bounds, and the scale of a prior."""

from __future__ import annotations

import numpy as np

from noise_learning.models.structure import Structure, attenuation, probability

# Above this a mechanism is as good as random, unless so many shots were taken that they tell the difference.
_MAX_PROBABILITY = 0.49
# Not below this fraction of the (scaled) prior: an estimate of 0 or less means "small", not "never".
_SHRUNK = 0.1


def highest_attenuation(shots: float) -> float:
    """The largest attenuation that so many shots tell from infinity: its moment is one standard error."""
    return max(float(attenuation(np.array(_MAX_PROBABILITY))), float(np.log(max(shots, 1.0))) / 2)


def clipped(set_attenuation: np.ndarray, *, towards: np.ndarray, shots: float) -> np.ndarray:
    """Attenuations that are valid: at least a fraction of `towards`, and at most `highest_attenuation`.

    Args:
        set_attenuation, towards: float64 (detector sets,).
        shots: effective number.
    """
    return np.minimum(np.maximum(set_attenuation, _SHRUNK * towards), highest_attenuation(shots))


def bounded_probability(a: np.ndarray, *, shots: float) -> np.ndarray:
    """Probabilities of attenuations, within (0, 1/2)."""
    return np.clip(probability(a), 1e-12, probability(np.array(highest_attenuation(shots))))


def prior_scale(structure: Structure, set_attenuation: np.ndarray, *, where: np.ndarray) -> float:
    """By how much the prior must be multiplied to add up to the given attenuations of some detector sets.

    Args:
        set_attenuation: float64 (detector sets,).
        where: bool (detector sets,), which of them to add up; with none of them the scale is 1.
    """
    if not where.any():
        return 1.0
    scale = float(set_attenuation[where].sum() / structure.prior_attenuation[where].sum())
    return min(max(scale, 1e-3), 1e3)
