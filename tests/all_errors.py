"""Small DEMs of any errors, and all that can happen in them: the reference for what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import stim


def dem_of(
    errors: Iterable[tuple[float, Sequence[str]]], *, detectors: int, observables: int
) -> stim.DetectorErrorModel:
    """Probabilities and targets as a DEM; separators '^' are kept where Stim allows them."""
    dem = stim.DetectorErrorModel(f"detector D{detectors - 1}\nlogical_observable L{observables - 1}")
    for p, targets in errors:
        kept: list[str] = []
        for target in targets:
            if target != "^" or (kept and kept[-1] != "^"):
                kept.append(target)
        while kept and kept[-1] == "^":
            kept.pop()
        dem += stim.DetectorErrorModel(f"error({p}) {' '.join(kept)}")
    return dem


def joint(dem: stim.DetectorErrorModel) -> np.ndarray:
    """float64 (2**observables, 2**detectors): probability of what a shot flips and shows."""
    states = np.arange(1 << (dem.num_detectors + dem.num_observables))
    found = (states == 0).astype(float)
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemInstruction) and instruction.type == "error":
            mask = 0
            for group in instruction.target_groups():
                for t in group:
                    mask ^= 1 << (t.val if t.is_relative_detector_id() else dem.num_detectors + t.val)
            (p,) = instruction.args_copy()
            found = (1 - p) * found + p * found[states ^ mask]
    return found.reshape(1 << dem.num_observables, -1)
