"""A model and the options of its streams."""

from types import SimpleNamespace

import pytest
import stim

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_x", distance=3, rounds=7, after_clifford_depolarization=0.01
)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    return SimpleNamespace(circuit=CIRCUIT, text=str(CIRCUIT), options={"commit": 2, "buffer": 2})
