"""Noise of many kinds, for a noise-conditioned network."""

from __future__ import annotations

import dataclasses

import numpy as np

from qec import CircuitNoise, LocationVariation, depolarizing, memory_circuit, normal_form

__all__ = ["randomized_noise"]

_CHANNELS = ("prep", "meas", "idle_cnot", "idle_spam", "cnot")
_SIGMA_OF_CHANNEL, _MOST_OF_CHANNEL = 1.0, 2.0
"""Of a channel's rates: spread of the logarithm of their common factor, and its bound."""
_SIGMA_OF_PAULI = 0.3
_MOST_BY_LOCATION = 0.6
_PROBE_DISTANCE = 5


def randomized_noise(p: float, *, seed: int) -> tuple[CircuitNoise, LocationVariation]:
    """Random noise under which detectors fire about as often as under uniform depolarizing noise `p`.

    Every channel has a random factor, every Pauli of a channel another, smaller one, and every location its
    own, of random spread. How often they fire is made equal at distance 5.
    """
    rng = np.random.default_rng([seed, 1])  # the locations' factors are drawn from the seed itself
    variation = LocationVariation(sigma=float(rng.uniform(0, _MOST_BY_LOCATION)), seed=seed)
    factors = rng.normal(0, _SIGMA_OF_CHANNEL, len(_CHANNELS)).clip(-_MOST_OF_CHANNEL, _MOST_OF_CHANNEL)
    wanted = _density(depolarizing(p), None)
    rates = {
        name: rate * np.exp(factors[_channel(name)] + rng.normal(0, _SIGMA_OF_PAULI))
        for name, rate in dataclasses.asdict(depolarizing(p)).items()
    }
    scale = 1.0
    for _ in range(3):  # the density is nearly proportional to the rates
        noise = CircuitNoise(**{name: float(scale * rate) for name, rate in rates.items()})
        scale *= wanted / _density(noise, variation)
    return CircuitNoise(**{name: float(scale * rate) for name, rate in rates.items()}), variation


def _channel(name: str) -> int:
    """Number of the channel that a rate belongs to."""
    return next(k for k, channel in enumerate(_CHANNELS) if name.startswith(channel))


def _density(noise: CircuitNoise, variation: LocationVariation | None) -> float:
    """How often a detector fires, on average."""
    circuit = memory_circuit(
        distance=_PROBE_DISTANCE, rounds=_PROBE_DISTANCE, basis="x", noise=noise, variation=variation
    )
    tables = normal_form(circuit.detector_error_model(approximate_disjoint_errors=True)).tables
    return float(tables.firing_probabilities().mean())
