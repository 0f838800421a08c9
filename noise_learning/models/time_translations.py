"""Detector sets that are time translations of each other."""

from __future__ import annotations

import numpy as np

from noise_learning.models.structure import Structure

_TIME_DIGITS = 6  # coordinates that agree to so many digits are equal


def time_translation_classes(structure: Structure) -> np.ndarray:
    """int64 (detector sets,): sets with equal numbers are time translations of each other.

    Time is the last coordinate of a detector. Sets that touch the first or last detector of an ancilla are
    apart: preparation and the measurement of data qubits add to them, and where the ancilla is of the other
    basis, whose first detector comes a round later, so do its first and last measurement. A set with a
    detector without coordinates is alone.
    """
    times: dict[tuple[float, ...], list[float]] = {}
    for c in structure.coordinates:
        if c:
            times.setdefault(c[:-1], []).append(c[-1])
    ends = {position: (min(ts), max(ts)) for position, ts in times.items()}
    numbers: dict[object, int] = {}
    class_of = np.empty(len(structure.detector_sets), dtype=np.int64)
    for k, detectors in enumerate(structure.detector_sets):
        places = [structure.coordinates[d] for d in detectors]
        key: object = k
        if all(places):
            first = min(place[-1] for place in places)
            shifted = sorted((*place[:-1], round(place[-1] - first, _TIME_DIGITS)) for place in places)
            at_ends = (any(place[-1] == ends[place[:-1]][side] for place in places) for side in (0, 1))
            key = (tuple(shifted), *at_ends)
        class_of[k] = numbers.setdefault(key, len(numbers))
    return class_of
