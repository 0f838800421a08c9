"""Moves of Markov chains over sets of faults, one chain for every shot of a batch.

Each proposes a set that is as likely to be left for the old one as the old one for it, under the noise
alone. So the chains sample the noise; accept what still fails, keep the old set otherwise, and they sample
the noise given that the shot fails.

A move is swaps, a redraw, and swaps again, the same backwards as forwards. A redraw draws some mechanisms
anew as fresh shots have them: a *window*, those of a stretch of detectors, which refreshes faults that have
no part in a failure elsewhere; or a *thinning*, random ones anywhere, which adds and removes faults of the
failure. A *swap* moves a fault to another mechanism of one of its detectors, which bends the failure; the
rule of Metropolis and Hastings makes up for what is not as likely.
"""

from __future__ import annotations

import numpy as np

from sims.rare.noise import TiltedNoise, among, union

__all__ = ["propose"]

_WINDOWS = 0.7
"""Share of redraws that are windows."""
_WINDOW_FRACTIONS = (0.15, 0.6)
_THINNING_FRACTIONS = (0.05, 0.3)
"""Least and largest share of the mechanisms that are drawn anew; shares between are log-uniform. Share times
acceptance, what is renewed in a step, is largest there (d = 9 near p = 0.005: about 0.1, at 0.3 and 0.15)."""


def propose(
    noise: TiltedNoise, keys: np.ndarray, *, tilt: float, shots: int, rng: np.random.Generator
) -> np.ndarray:
    """Keys of another set for every shot; both as in `sims.rare.noise`."""
    swapped = _swap(noise, keys, shots, rng)
    return _swap(noise, _redraw(noise, swapped, tilt, shots, rng), shots, rng)


def _redraw(
    noise: TiltedNoise, keys: np.ndarray, tilt: float, shots: int, rng: np.random.Generator
) -> np.ndarray:
    """Chosen mechanisms are as in fresh shots, the others as they were."""
    n = noise.num_mechanisms
    window = rng.random(shots) < _WINDOWS
    thinned = np.where(window, 0.0, _log_uniform(_THINNING_FRACTIONS, shots, rng))
    length = np.where(window, n * _log_uniform(_WINDOW_FRACTIONS, shots, rng), 0.0)
    start = rng.integers(n, size=shots)

    def chosen(some: np.ndarray) -> np.ndarray:
        shot, mechanism = np.divmod(some, n)
        inside = (mechanism - start[shot]) % n < length[shot]
        return inside | (rng.random(len(some)) < thinned[shot])

    fresh = noise.sample(tilt, shots=shots, rng=rng)
    # A fault that was there and is in the fresh shot too stays, whether it was chosen or not.
    left = keys[~chosen(keys) | among(keys, fresh)]
    return union(left, fresh[chosen(fresh)])


def _swap(noise: TiltedNoise, keys: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """One fault of every shot that has any moves to a mechanism of a detector of its own, or stays.

    A move from j to k is proposed with the probability sum 1 / (|j| |D|) over the detectors D of both, |.|
    counting neighbours, so that the way back is |j| / |k| times as likely; the number of faults stays.
    """
    n = noise.num_mechanisms
    of_detector, degree = noise.mechanisms_of_detector, noise.detectors_of_mechanism
    count = noise.faults_of_each(keys, shots=shots)
    shot = np.flatnonzero(count)
    place = (np.cumsum(count) - count)[shot] + rng.integers(count[shot])
    seen = degree[keys[place] % n] > 0
    shot, place = shot[seen], place[seen]
    old = keys[place] % n
    detector = noise.detectors.indices[noise.detectors.indptr[old] + rng.integers(degree[old])]
    beside = of_detector.indptr[detector + 1] - of_detector.indptr[detector]
    new = of_detector.indices[of_detector.indptr[detector] + rng.integers(beside)].astype(np.int64)
    likelier = noise.odds[new] * degree[old] / (noise.odds[old] * degree[new])
    taken = (rng.random(len(shot)) < likelier) & ~among(shot * n + new, keys)
    swapped = keys.copy()
    swapped[place[taken]] = (shot * n + new)[taken]
    swapped.sort()
    return swapped


def _log_uniform(bounds: tuple[float, float], size: int, rng: np.random.Generator) -> np.ndarray:
    low, high = np.log(bounds)
    return np.exp(rng.uniform(low, high, size))
