"""Memory circuits of rotated patches, and the noise that goes into them."""

from qec.circuits.memory import memory_circuit, stim_memory_circuit
from qec.circuits.noise import (
    NOISE_PARAMETERS,
    CircuitNoise,
    LocationVariation,
    depolarizing,
    dump_noise,
    load_noise,
    si1000,
)
from qec.circuits.rotated_patch import BASES, ORIENTATIONS, Basis, Orientation, RotatedPatch

__all__ = [
    "BASES",
    "NOISE_PARAMETERS",
    "ORIENTATIONS",
    "Basis",
    "CircuitNoise",
    "LocationVariation",
    "Orientation",
    "RotatedPatch",
    "depolarizing",
    "dump_noise",
    "load_noise",
    "memory_circuit",
    "si1000",
    "stim_memory_circuit",
]
