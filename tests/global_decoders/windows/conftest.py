"""Memory experiments and their shots, shared by the window tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pymatching
import pytest
import stim

import qec
from global_decoders import make_decoder
from global_decoders.windows import LayeredDem, Window, WindowDem, cut


@dataclass(frozen=True)
class Shots:
    """A DEM, shots of it (packed), and what they flipped (packed)."""

    dem: stim.DetectorErrorModel
    detections: np.ndarray
    flips: np.ndarray

    def decoded_by(self, decoder: object) -> np.ndarray:
        compiled = decoder.compile_decoder_for_dem(dem=self.dem)  # type: ignore[attr-defined]
        return compiled.decode_shots_bit_packed(bit_packed_detection_event_data=self.detections)

    def whole(self, inner: str = "pymatching") -> np.ndarray:
        return self.decoded_by(make_decoder(inner))


def memory_dem(
    *, distance: int, rounds: int, p: float, basis: Literal["x", "z"] = "x", reset: bool = True
) -> stim.DetectorErrorModel:
    circuit = qec.memory_circuit(
        distance=distance, rounds=rounds, basis=basis, noise=qec.depolarizing(p), reset=reset
    )
    return circuit.detector_error_model(decompose_errors=True)


@pytest.fixture(scope="session")
def memory() -> Callable[..., stim.DetectorErrorModel]:
    return memory_dem


@pytest.fixture(scope="session")
def sampled() -> Callable[..., Shots]:
    def sample(*, shots: int, seed: int = 5, **memory: Any) -> Shots:
        dem = memory_dem(**memory)
        detections, flips, _ = dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)
        return Shots(dem, detections, flips)

    return sample


class ReferenceWindows:
    """Windows in NumPy and PyMatching, one shot and one window at a time, by the rules in words."""

    def __init__(self, layers: LayeredDem, windows: list[Window], *, correlated: bool) -> None:
        self.layers, self.windows = layers, windows
        self.dems = [cut(layers, window) for window in windows]
        self.matchings = [self.matching(dem, correlated=correlated) for dem in self.dems]
        self.correlated = correlated

    @staticmethod
    def matching(dem: WindowDem, *, correlated: bool) -> pymatching.Matching:
        matching = pymatching.Matching.from_detector_error_model(
            stim.DetectorErrorModel(dem.text), enable_correlations=correlated
        )
        matching.ensure_num_fault_ids(dem.num_fault_ids)
        return matching

    def frames(self, bits: np.ndarray) -> list[np.ndarray]:
        """Flips uint8 0/1 (observables,) of one shot after each window; uint8 0/1 (detectors,), by layers."""
        places = [(t, site) for t in range(self.layers.num_layers) for site in self.layers.kind(t).sites]
        fired = {place: int(bit) for place, bit in zip(places, bits, strict=True)}
        frame = np.zeros(self.layers.num_observables, dtype=np.uint8)
        frame[list(self.layers.certain_observables)] = 1
        found = []
        for window, dem, matching in zip(self.windows, self.dems, self.matchings, strict=True):
            read = np.array([fired[window.start + t, site] for t, site in dem.inputs], dtype=np.uint8)
            read[list(dem.certain_inputs)] ^= 1
            flips = matching.decode(read, enable_correlations=self.correlated).astype(np.uint8)
            flips[list(dem.certain_flips)] ^= 1
            frame = frame ^ flips[: dem.num_observables]
            for (t, site), flip in zip(dem.artificial_defects, flips[dem.num_observables :], strict=True):
                fired[window.start + t, site] ^= int(flip)
            found.append(frame)
        return found


@pytest.fixture(scope="session")
def reference() -> type[ReferenceWindows]:
    return ReferenceWindows
