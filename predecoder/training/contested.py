"""Shots on which plain and correlated matching disagree: the ones that a pre-decoder can win or lose."""

from __future__ import annotations

import numpy as np
import pymatching
import stim

__all__ = ["ContestedShots"]

_CHUNK = 1024
_MAX_SAMPLED_PER_SHOT = 100_000


class ContestedShots:
    """Samples a DEM and keeps the shots on which the two matchers predict different observables."""

    def __init__(self, dem: stim.DetectorErrorModel, *, source: str) -> None:
        """`source` names the DEM in errors."""
        self._dem, self._source = dem, source
        self._matchings = [
            (pymatching.Matching.from_detector_error_model(dem, enable_correlations=correlated), correlated)
            for correlated in (False, True)
        ]

    def sample(self, shots: int, rng: np.random.Generator) -> np.ndarray:
        """Detections of contested shots, bit-packed uint8 `(shots, ceil(num_detectors / 8))` LSB first.

        Raises:
            ValueError: the matchers disagree so rarely that the shots will not be found.
        """
        sampler = self._dem.compile_sampler(seed=int(rng.integers(2**62)))
        kept: list[np.ndarray] = []
        found = sampled = 0
        while found < shots:
            packed, _, _ = sampler.sample(_CHUNK, bit_packed=True)
            kept.append(packed[self._disagree(packed)])
            found += len(kept[-1])
            sampled += _CHUNK
            if sampled > _MAX_SAMPLED_PER_SHOT * max(1, found):
                raise ValueError(
                    f"plain and correlated matching disagree on {found} of {sampled:,} shots of "
                    f"{self._source}; raise p or remove contested=true from this task"
                )
        return np.concatenate(kept)[:shots]

    def _disagree(self, packed: np.ndarray) -> np.ndarray:
        plain, correlated = (
            matching.decode_batch(packed, bit_packed_shots=True, enable_correlations=on)
            for matching, on in self._matchings
        )
        return (plain != correlated).any(axis=1)
