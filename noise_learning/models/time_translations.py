"""Detector sets that are time translations of each other."""

from __future__ import annotations

import numpy as np

from noise_learning.models.ancilla_rounds import AncillaRounds
from noise_learning.models.structure import Structure
from qec import position_of, time_of

_TIME_DIGITS = 6  # times that agree to so many digits are equal


def time_translation_classes(structure: Structure, *, ends_apart: bool = True) -> np.ndarray:
    """int64 (detector sets,): sets with equal numbers are time translations of each other.

    Time is the third coordinate of a detector, or its last one where there are fewer. A set with a detector
    without coordinates is alone, and so is one that stands for mechanisms which differ in detectors that are
    left out.

    Args:
        ends_apart: sets that touch the first or last detector of an ancilla are apart, and others that are
            near (`AncillaRounds.ends`).
    """
    rounds = AncillaRounds.of(structure)
    numbers: dict[object, int] = {}
    class_of = np.empty(len(structure.detector_sets), dtype=np.int64)
    for k, detectors in enumerate(structure.detector_sets):
        places = [structure.coordinates[d] for d in detectors]
        key: object = k
        if all(places) and not structure.merged[k]:
            when = [(position_of(c), time_of(c)) for c in places]
            first = min(t for _, t in when)
            shifted = sorted((*position, round(t - first, _TIME_DIGITS)) for position, t in when)
            key = (tuple(shifted), *(rounds.ends(detectors) if ends_apart else ()))
        class_of[k] = numbers.setdefault(key, len(numbers))
    return class_of
