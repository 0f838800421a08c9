"""The closed form shrunk to its mean over rounds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import truncnorm

import qec
from noise_learning import Moments, Structure, attenuation, fit_closed_form, fit_stationary
from noise_learning.estimators.learning_data import LearningData
from noise_learning.estimators.stationary import positive_moments


def test_positive_moments_are_those_of_a_truncated_normal():
    mean, sigma = np.array([3.0, 0.1, -0.5, -4.0, 1e-4]), np.array([0.1, 1.0, 0.4, 1.0, 2e-4])
    expected = truncnorm.stats(-mean / sigma, np.inf, loc=mean, scale=sigma, moments="mv")
    for found, value in zip(positive_moments(mean, sigma), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-6)
    far = positive_moments(np.array([-1.0]), np.array([1e-3]))
    assert far[0][0] == pytest.approx(1e-6, rel=1e-2)
    assert far[1][0] == pytest.approx(1e-12, rel=1e-2)


def test_shrinking_to_the_mean_over_rounds_lowers_the_error():
    circuit = qec.memory_circuit(
        distance=3, rounds=8, noise=qec.depolarizing(0.006), variation=qec.LocationVariation(0.5, 3)
    )
    structure = Structure.from_circuit(circuit)
    shots = circuit.compile_detector_sampler(seed=1).sample(20_000, bit_packed=True)
    moments = Moments.from_shots(structure.subsets, shots)
    errors = [
        np.sqrt(np.mean((structure.membership @ attenuation(fit.p) - structure.prior_attenuation) ** 2))
        for fit in (fit_stationary(moments, structure), fit_closed_form(moments, structure))
    ]
    assert errors[0] < 0.85 * errors[1]


def test_what_hidden_flips_take_from_single_detectors_is_part_of_their_error(exact_moments):
    """Hidden flips of a stabilizer in three rounds count in two pairs, and push single detectors below 0."""
    structure = Structure.from_circuit(
        qec.memory_circuit(distance=3, rounds=6, noise=qec.depolarizing(0.006))
    ).simplified()
    index = {c: d for d, c in enumerate(structure.coordinates)}
    chains = ([index.get((x, y, t + step)) for step in range(3)] for x, y, t in index)
    hidden = [set(chain) for chain in chains if None not in chain]
    moments = exact_moments(structure, structure.prior)
    flipped = np.ones(len(structure.subsets))
    for row in range(len(structure.subsets)):
        inside = set(structure.subsets.detectors(row))
        for chain in hidden:
            flipped[row] *= 1 - 2 * 0.015 * (len(inside & chain) % 2)
    leaking = replace(moments, odd=moments.weight * (1 - moments.means * flipped) / 2)
    truth = structure.prior_attenuation
    single = np.array([len(detectors) == 1 for detectors in structure.detector_sets])
    below = single & (LearningData.of(leaking, structure).raw.a < 0)
    assert np.count_nonzero(below) > 10
    fit = fit_stationary(leaking, structure)
    a, closed = (
        structure.membership @ attenuation(one.p) for one in (fit, fit_closed_form(leaking, structure))
    )
    assert (a[below] > 0.1 * truth[below]).all()
    assert np.abs(a - truth)[below].mean() < 0.95 * np.abs(closed - truth)[below].mean()
    relative = fit.sigma / fit.p
    assert (relative[structure.membership[below].indices] > 0.2).all()  # sampling alone: 1e-6
    assert "for sets of 1" in fit.notes[-1]
    large = np.array([len(detectors) > 2 for detectors in structure.detector_sets])
    np.testing.assert_allclose(a[large], truth[large], rtol=0.05)
    clean = fit_stationary(moments, structure)
    np.testing.assert_allclose(structure.membership @ attenuation(clean.p), truth, rtol=0.05)
    assert "beyond sampling" not in clean.notes[-1]


def test_shots_without_any_event_give_valid_probabilities():
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.006))
    structure = Structure.from_circuit(circuit)
    shape = (50, -(-structure.num_detectors // 8))
    fit = fit_stationary(Moments.from_shots(structure.subsets, np.zeros(shape, dtype=np.uint8)), structure)
    assert np.isfinite(fit.sigma).all()
    assert ((fit.p > 0) & (fit.p < 0.5)).all()
    fit.dem()
