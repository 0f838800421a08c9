"""The noise of a DEM, made stronger or weaker by one number, and shots of it as lists of faults.

At tilt t the odds of every mechanism are exp(t) times those of the DEM; tilt 0 is the DEM. Shots of a lower
tilt are shots of a higher one from which faults were taken at random, each by itself, and the other way
round.

A batch of shots is one sorted int64 array of keys, `shot * mechanisms + mechanism`, one for each fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from qec import NormalForm

__all__ = ["TiltedNoise", "among", "union"]


def union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Keys of `a`, of `b` or of both, sorted."""
    return _distinct(np.concatenate([a, b]))


def among(some: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which of `some` are among sorted `keys`: bool, in the order of `some`."""
    place = np.searchsorted(keys, some)
    found = np.zeros(len(some), dtype=bool)
    inside = place < len(keys)
    found[inside] = keys[place[inside]] == some[inside]
    return found


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Each key once, sorted, in place: `np.unique` goes by hashes and takes several times as long."""
    keys.sort()
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


@dataclass(frozen=True, eq=False)
class TiltedNoise:
    """Independent mechanisms, in the order of the detectors that they flip.

    Attributes:
        odds: float64 `(mechanisms,)`, p / (1 - p) of the DEM.
        detectors: CSC `(num_detectors, mechanisms)`: what each flips.
        observables: CSC `(num_observables, mechanisms)`.
    """

    odds: np.ndarray
    detectors: sp.csc_matrix
    observables: sp.csc_matrix

    @classmethod
    def of(cls, normal: NormalForm) -> TiltedNoise:
        """What has exactly the statistics of a DEM, but for what always happens."""
        tables = normal.tables
        detectors, observables = sp.csc_matrix(tables.detectors), sp.csc_matrix(tables.observables)
        counts = np.diff(detectors.indptr)
        sums = np.bincount(
            np.repeat(np.arange(len(counts)), counts), weights=detectors.indices, minlength=len(counts)
        )
        order = np.argsort(sums / np.maximum(counts, 1), kind="stable")
        probabilities = tables.probabilities[order]
        return cls(
            odds=probabilities / (1 - probabilities),
            detectors=detectors[:, order],
            observables=observables[:, order],
        )

    @property
    def num_mechanisms(self) -> int:
        return len(self.odds)

    @cached_property
    def mechanisms_of_detector(self) -> sp.csr_matrix:
        """CSR `(num_detectors, mechanisms)`: what flips each detector."""
        return sp.csr_matrix(self.detectors)

    @cached_property
    def detectors_of_mechanism(self) -> np.ndarray:
        """int64 `(mechanisms,)`: how many detectors each flips."""
        return np.diff(self.detectors.indptr)

    def mean_faults(self, tilt: float) -> float:
        """Faults of a shot, on average."""
        scaled = self.odds * math.exp(tilt)
        return float((scaled / (1 + scaled)).sum())

    def sample(self, tilt: float, *, shots: int, rng: np.random.Generator) -> np.ndarray:
        """Keys of `shots` independent shots."""
        return self._hit(np.log1p(self.odds * math.exp(tilt)), shots, rng)

    def weaker(self, keys: np.ndarray, *, tilt: float, to: float, rng: np.random.Generator) -> np.ndarray:
        """Shots of a tilt without some of their faults, as shots of the lower tilt `to` are.

        With `stronger`, a step and its way back: the two shots have one joint distribution in both.
        """
        high, low = math.exp(tilt) * self.odds, math.exp(to) * self.odds
        stays = low / (1 + low) * (1 + high) / high
        return keys[rng.random(len(keys)) < stays[keys % self.num_mechanisms]]

    def stronger(
        self, keys: np.ndarray, *, tilt: float, to: float, shots: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Shots of a tilt with more faults, as shots of the higher tilt `to` are."""
        high, low = math.exp(to) * self.odds, math.exp(tilt) * self.odds
        return union(keys, self._hit(np.log1p(high) - np.log1p(low), shots, rng))

    def _hit(self, rates: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
        """Keys of faults that are there with probability 1 - exp(-rate), independently.

        Every mechanism of every shot is hit a Poisson number of times, and is there if it was hit at all; the
        cost grows with the faults alone.
        """
        sums = np.cumsum(rates)
        hits = rng.poisson(shots * sums[-1])
        mechanism = np.searchsorted(sums, rng.random(hits) * sums[-1], side="right")
        mechanism = np.minimum(mechanism, self.num_mechanisms - 1)
        return _distinct(rng.integers(shots, size=hits) * self.num_mechanisms + mechanism)

    def faults_of_each(self, keys: np.ndarray, *, shots: int) -> np.ndarray:
        """int64 `(shots,)`: how many faults each has."""
        return np.bincount(keys // self.num_mechanisms, minlength=shots)

    def syndromes(self, keys: np.ndarray, *, shots: int) -> tuple[np.ndarray, np.ndarray]:
        """Detections and observable flips, uint8 `(shots, ceil(n / 8))`, bit-packed LSB first."""
        shot, mechanism = np.divmod(keys, self.num_mechanisms)
        return (
            _parities(self.detectors, shot, mechanism, shots=shots),
            _parities(self.observables, shot, mechanism, shots=shots),
        )

    def take(self, keys: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Keys of the batch whose shot k is shot `chosen[k]` of this one."""
        n = self.num_mechanisms
        start, stop = np.searchsorted(keys, chosen * n), np.searchsorted(keys, (chosen + 1) * n)
        shift = (np.arange(len(chosen)) - chosen) * n
        return keys[_ranges(start, stop)] + np.repeat(shift, stop - start)


def _parities(columns: sp.csc_matrix, shot: np.ndarray, column: np.ndarray, *, shots: int) -> np.ndarray:
    """Sums mod 2 of the columns of each shot, packed."""
    rows = columns.shape[0]
    start, stop = columns.indptr[column], columns.indptr[column + 1]
    ones = columns.indices[_ranges(start, stop)] + np.repeat(shot * rows, stop - start)
    sums = np.bincount(ones, minlength=shots * rows) & 1
    return np.packbits(sums.astype(np.uint8).reshape(shots, rows), axis=1, bitorder="little")


def _ranges(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """start[0], ..., stop[0] - 1, start[1], ..., stop[1] - 1, ..."""
    lengths = stop - start
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - ends + lengths, lengths)
