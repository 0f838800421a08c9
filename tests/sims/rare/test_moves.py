"""Moves are reversible: pairs (before, after) of sets are as often there the other way round."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import stim

from qec import normal_form
from sims.rare import moves
from sims.rare.noise import TiltedNoise

TILT = 0.7
# Mechanisms of none, one, two and three detectors, and detectors of one to four mechanisms.
DEM = stim.DetectorErrorModel(
    "error(0.2) D0 D1\nerror(0.1) D1 D2 L0\nerror(0.3) D1\nerror(0.15) D0 D1 D2\nerror(0.25) L0"
)


@pytest.mark.parametrize("swaps_alone", [False, True])
def test_flows_between_sets_are_symmetric(monkeypatch: pytest.MonkeyPatch, swaps_alone: bool):
    noise, shots, rng = TiltedNoise.of(normal_form(DEM)), 150_000, np.random.default_rng(3)
    before = noise.sample(TILT, shots=shots, rng=rng)
    if swaps_alone:
        monkeypatch.setattr(moves, "_redraw", lambda noise, keys, tilt, shots, rng: keys)
    after = moves.propose(noise, before, tilt=TILT, shots=shots, rng=rng)
    flows = Counter(zip(_names(noise, before, shots), _names(noise, after, shots), strict=True))
    pairs = {tuple(sorted(pair)) for pair in flows if pair[0] != pair[1]}
    assert len(pairs) > (20 if swaps_alone else 100)
    both = np.array([(flows[a, b], flows[b, a]) for a, b in pairs], dtype=float)
    chi2 = ((both[:, 0] - both[:, 1]) ** 2 / both.sum(axis=1)).sum()
    assert chi2 < len(pairs) + 4 * np.sqrt(2 * len(pairs))
    assert sum(both.sum(axis=1)) > shots / 10


def _names(noise: TiltedNoise, keys: np.ndarray, shots: int) -> list[int]:
    """A set as a number, of its mechanisms as bits."""
    shot, mechanism = np.divmod(keys, noise.num_mechanisms)
    return np.bincount(shot, weights=1 << mechanism, minlength=shots).astype(int).tolist()
