"""Detector sets that are time translations of each other."""

from __future__ import annotations

import numpy as np

from noise_learning.structure import Structure

_TIME_DIGITS = 6  # coordinates that agree to so many digits are equal


def time_orbits(structure: Structure) -> np.ndarray:
    """int64 (detector sets,): sets with equal numbers are time translations of each other.

    Time is the last coordinate of a detector. Sets that touch the first or last time are apart: preparation
    and the measurement of data qubits add to them. A set with a detector without coordinates is alone.
    """
    times = [c[-1] for c in structure.coordinates if c]
    ends = (min(times), max(times)) if times else (0.0, 0.0)
    numbers: dict[object, int] = {}
    orbit = np.empty(len(structure.detector_sets), dtype=np.int64)
    for k, detectors in enumerate(structure.detector_sets):
        places = [structure.coordinates[d] for d in detectors]
        key: object = k
        if all(places):
            first = min(place[-1] for place in places)
            last = max(place[-1] for place in places)
            shifted = sorted((*place[:-1], round(place[-1] - first, _TIME_DIGITS)) for place in places)
            key = (tuple(shifted), first == ends[0], last == ends[1])
        orbit[k] = numbers.setdefault(key, len(numbers))
    return orbit
