"""Decoding problems of all kinds, and what kernels are tested with."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

import qec
from qec import Basis, DecodingProblem, Orientation


@functools.cache
def _problem(
    distance: int | tuple[int, int], rounds: int, basis: Basis, orientation: Orientation
) -> DecodingProblem:
    return DecodingProblem.from_circuit(
        qec.memory_circuit(
            distance=distance,
            rounds=rounds,
            basis=basis,
            orientation=orientation,
            noise=qec.depolarizing(0.006),
        )
    )


@pytest.fixture(scope="session")
def problem() -> Callable[..., DecodingProblem]:
    """`problem(distance, rounds, basis, orientation)` at p = 0.006, made once."""

    def make(
        distance: int | tuple[int, int], rounds: int, basis: Basis = "x", orientation: Orientation = "XV"
    ) -> DecodingProblem:
        return _problem(distance, rounds, basis, orientation)

    return make


@pytest.fixture(scope="session")
def element_bits() -> Callable[[np.ndarray, str], tuple[np.ndarray, np.ndarray]]:
    """`element_bits(values, dtype)`: float32 as bit patterns of a type, and the float32 that these are."""

    def make(values: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        values = np.ascontiguousarray(values, dtype=np.float32)
        if dtype == "float16":
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            return half.view(np.uint16), half.astype(np.float32)
        words = values.view(np.uint32)
        if dtype == "bfloat16":  # cut off, which is no rounding but gives every pattern
            return (words >> 16).astype(np.uint16), (words & 0xFFFF0000).view(np.float32)
        return words, values

    return make


@pytest.fixture
def nvrtc() -> None:
    """Skips where NVRTC is not installed."""
    errors = pytest.importorskip("cuda.pathfinder")
    bindings = pytest.importorskip("cuda.bindings.nvrtc")
    try:
        bindings.nvrtcVersion()
    except errors.DynamicLibNotFoundError:
        pytest.skip("NVRTC is not installed (pip install nvidia-cuda-nvrtc)")
