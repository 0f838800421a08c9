"""Detector sets that are time translations of each other."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from noise_learning.models.ancilla_rounds import AncillaRounds
from noise_learning.models.structure import Structure
from qec import position_of, time_of

_TIME_DIGITS = 6  # times that agree to so many digits are equal


def time_translation_keys(structure: Structure, *, ends_apart: bool = True) -> list[Hashable | None]:
    """By detector set, what its time translations have in common, in experiments of any number of rounds.

    Time is the third coordinate of a detector, or its last one where there are fewer. None is for a set that
    has no translations: one with a detector without coordinates, or one that stands for mechanisms which
    differ in detectors that are left out.

    Args:
        ends_apart: sets that touch the first or last detector of an ancilla are apart, and others that are
            near (`AncillaRounds.ends`).
    """
    rounds = AncillaRounds.of(structure)
    keys: list[Hashable | None] = []
    for k, detectors in enumerate(structure.detector_sets):
        places = [structure.coordinates[d] for d in detectors]
        key: Hashable | None = None
        if all(places) and not structure.merged[k]:
            when = [(position_of(c), time_of(c)) for c in places]
            first = min(t for _, t in when)
            shifted = sorted((*position, round(t - first, _TIME_DIGITS)) for position, t in when)
            key = (tuple(shifted), *(rounds.ends(detectors) if ends_apart else ()))
        keys.append(key)
    return keys


def time_translation_classes(structure: Structure, *, ends_apart: bool = True) -> np.ndarray:
    """int64 (detector sets,): sets with equal numbers are time translations; see `time_translation_keys`."""
    keys = time_translation_keys(structure, ends_apart=ends_apart)
    return number_classes([k if key is None else key for k, key in enumerate(keys)])


def number_classes(keys: list[Hashable]) -> np.ndarray:
    """int64 (keys,): equal keys have equal numbers, from 0 in the order of their first."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
