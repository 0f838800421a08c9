"""The closed form shrunk to its mean over rounds."""

import numpy as np
import pytest
from scipy.stats import truncnorm

import qec
from noise_learning import Moments, Structure, fit_closed_form, fit_stationary, strength
from noise_learning.stationary import positive_mean


def test_positive_mean_is_that_of_a_truncated_normal():
    mean, sigma = np.array([3.0, 0.1, -0.5, -4.0, 1e-4]), np.array([0.1, 1.0, 0.4, 1.0, 2e-4])
    expected = truncnorm.mean(-mean / sigma, np.inf, loc=mean, scale=sigma)
    np.testing.assert_allclose(positive_mean(mean, sigma), expected, rtol=1e-6)
    far = positive_mean(np.array([-1.0]), np.array([1e-3]))
    assert far[0] == pytest.approx(1e-6, rel=1e-2)


def test_shrinking_to_the_mean_over_rounds_lowers_the_error():
    circuit = qec.memory_circuit(
        distance=3, rounds=8, noise=qec.depolarizing(0.006), variation=qec.LocationVariation(0.5, 3)
    )
    structure = Structure.from_circuit(circuit)
    shots = circuit.compile_detector_sampler(seed=1).sample(20_000, bit_packed=True)
    moments = Moments.from_shots(structure.subsets, shots)
    errors = [
        np.sqrt(np.mean((structure.membership @ strength(fit.p) - structure.prior_strength) ** 2))
        for fit in (fit_stationary(moments, structure), fit_closed_form(moments, structure))
    ]
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize("bits", ["none", "all", "coin"])
def test_any_shots_give_valid_probabilities(bits):
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.006))
    structure = Structure.from_circuit(circuit)
    shape = (50, -(-structure.num_detectors // 8))
    value = {"none": 0, "all": 255, "coin": None}[bits]
    shots = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) if value is None else None
    shots = np.full(shape, value, dtype=np.uint8) if shots is None else shots
    fit = fit_stationary(Moments.from_shots(structure.subsets, shots), structure)
    assert np.isfinite(fit.sigma).all()
    assert ((fit.p > 0) & (fit.p < 0.5)).all()
    fit.dem()
