"""A memory so small that every set of its faults can be decoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import sinter
import stim

from global_decoders import make_decoder
from qec import mechanisms


@dataclass(frozen=True, eq=False)
class Exact:
    """A DEM, and for each set of its mechanisms whether PyMatching fails.

    Attributes:
        sets: bool `(2^n, n)`; p: float64 `(n,)`, of each mechanism; fails: bool `(2^n,)`.
    """

    dem: stim.DetectorErrorModel
    sets: np.ndarray
    p: np.ndarray
    fails: np.ndarray

    @property
    def rate(self) -> float:
        return self.rate_at(0.0)

    def rate_at(self, tilt: float) -> float:
        """Where all odds are exp(tilt) times as large."""
        scaled = self.p * np.exp(tilt)
        there = np.where(self.sets, scaled, 1 - self.p) / (scaled + 1 - self.p)
        return float(there.prod(axis=1)[self.fails].sum())


def exact_of(dem: stim.DetectorErrorModel) -> Exact:
    """By enumeration: an independent way to the logical error rate."""
    errors = list(mechanisms(dem))
    sets = np.array(list(itertools.product([False, True], repeat=len(errors))))
    p = np.array([error.probability for error in errors])
    detectors = np.zeros((len(errors), dem.num_detectors), dtype=np.uint8)
    observables = np.zeros((len(errors), dem.num_observables), dtype=np.uint8)
    for k, error in enumerate(errors):
        for part_detectors, part_observables in error.components:
            detectors[k, list(part_detectors)] ^= 1
            observables[k, list(part_observables)] ^= 1
    shots = np.packbits(sets @ detectors & 1, axis=1, bitorder="little")
    flips = np.packbits(sets @ observables & 1, axis=1, bitorder="little")
    compiled = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    predicted = compiled.decode_shots_bit_packed(bit_packed_detection_event_data=shots)
    return Exact(dem, sets, p, (predicted != flips).any(axis=1))


def repetition_code(p: float) -> stim.Circuit:
    return stim.Circuit.generated(
        "repetition_code:memory",
        distance=3,
        rounds=2,
        before_round_data_depolarization=p,
        before_measure_flip_probability=p,
    )


@pytest.fixture(scope="session")
def exact() -> Exact:
    """A rate of 10^-4 or so, its mechanisms of three probabilities."""
    return exact_of(repetition_code(3e-3).detector_error_model(decompose_errors=True))


@pytest.fixture(scope="session")
def compiled(exact: Exact) -> sinter.CompiledDecoder:
    return make_decoder("pymatching").compile_decoder_for_dem(dem=exact.dem)
