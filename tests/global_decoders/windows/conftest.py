"""Memory experiments and their shots, shared by the window tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import stim

import qec
from global_decoders import make_decoder


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
    *, distance: int, rounds: int, p: float, basis: Literal["x", "z"] = "x"
) -> stim.DetectorErrorModel:
    circuit = qec.memory_circuit(distance=distance, rounds=rounds, basis=basis, noise=qec.depolarizing(p))
    return circuit.detector_error_model(decompose_errors=True)


@pytest.fixture(scope="session")
def memory() -> Callable[..., stim.DetectorErrorModel]:
    return memory_dem


@pytest.fixture(scope="session")
def sampled() -> Callable[..., Shots]:
    def sample(
        *, distance: int, rounds: int, p: float, shots: int, basis: Literal["x", "z"] = "x", seed: int = 5
    ) -> Shots:
        dem = memory_dem(distance=distance, rounds=rounds, p=p, basis=basis)
        detections, flips, _ = dem.compile_sampler(seed=seed).sample(shots, bit_packed=True)
        return Shots(dem, detections, flips)

    return sample
