"""Tilted noise: shots have the probabilities that they are said to have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import stim

from qec import normal_form
from sims.rare.noise import TiltedNoise

DEM = stim.DetectorErrorModel(
    "error(0.3) D0 D1\nerror(0.01) D2 L0\nerror(0.2) D1 D2\nerror(0.05) L1\nerror(0.4) D0 L0 L1"
)


@pytest.fixture
def noise() -> TiltedNoise:
    return TiltedNoise.of(normal_form(DEM))


@pytest.mark.parametrize("tilt", [-2.0, 0.0, 3.0])
def test_every_mechanism_is_there_as_often_as_its_odds_say(noise: TiltedNoise, tilt: float):
    shots = 50_000
    keys = noise.sample(tilt, shots=shots, rng=np.random.default_rng(5))
    assert (np.diff(keys) > 0).all()
    found = np.bincount(keys % noise.num_mechanisms, minlength=noise.num_mechanisms)
    p = noise.odds * math.exp(tilt) / (1 + noise.odds * math.exp(tilt))
    assert np.abs(found - shots * p).max() < 4 * np.sqrt(shots * p * (1 - p)).max()
    assert noise.faults_of_each(keys, shots=shots).mean() == pytest.approx(noise.mean_faults(tilt), abs=0.03)


def test_two_mechanisms_of_a_shot_are_independent(noise: TiltedNoise):
    keys = noise.sample(0.5, shots=50_000, rng=np.random.default_rng(6))
    there = np.zeros((50_000, noise.num_mechanisms))
    there.flat[keys] = 1
    assert np.abs(np.corrcoef(there.T) - np.eye(noise.num_mechanisms)).max() < 4 / math.sqrt(50_000)


def test_syndromes_are_sums_of_the_mechanisms(noise: TiltedNoise):
    shots = 200
    keys = noise.sample(1.0, shots=shots, rng=np.random.default_rng(7))
    there = np.zeros((shots, noise.num_mechanisms), dtype=np.int64)
    there.flat[keys] = 1
    detections, flips = noise.syndromes(keys, shots=shots)
    for packed, matrix in ((detections, noise.detectors), (flips, noise.observables)):
        expected = there @ matrix.toarray().T.astype(np.int64) & 1
        assert np.array_equal(packed, np.packbits(expected, axis=1, bitorder="little"))


def test_taken_shots_are_those_chosen(noise: TiltedNoise):
    keys = noise.sample(1.0, shots=20, rng=np.random.default_rng(8))
    chosen = np.array([3, 3, 19, 0])
    taken = noise.take(keys, chosen)
    n = noise.num_mechanisms
    for k, shot in enumerate(chosen):
        assert set(taken[taken // n == k] % n) == set(keys[keys // n == shot] % n)
    assert (np.diff(taken) > 0).all()


def test_fewer_faults_and_more_are_a_step_and_its_way_back(noise: TiltedNoise):
    """Pairs (fault at the higher tilt, at the lower one) are as frequent whichever of the two comes first."""
    shots, rng = 100_000, np.random.default_rng(9)
    n, high, low = noise.num_mechanisms, 1.5, -0.5

    def there(keys: np.ndarray) -> np.ndarray:
        found = np.zeros((shots, n), dtype=int)
        found.flat[keys] = 1
        return found

    down = noise.sample(high, shots=shots, rng=rng)
    fewer = noise.weaker(down, tilt=high, to=low, rng=rng)
    up = noise.sample(low, shots=shots, rng=rng)
    more = noise.stronger(up, tilt=low, to=high, shots=shots, rng=rng)
    one, two = there(down) + there(fewer), there(more) + there(up)
    for pair in range(3):  # none, at the higher tilt only, at both
        a, b = (one == pair).sum(axis=0), (two == pair).sum(axis=0)
        assert (np.abs(a - b) < 4.5 * np.sqrt(a + b)).all()
    assert set(fewer) <= set(down)
    assert set(up) <= set(more)
