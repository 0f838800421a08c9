"""Noise learned from circuits without mid-circuit reset, where wrong results are seen two rounds apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import qec
from noise_learning import (
    Moments,
    NoiseFit,
    SharedParameterModel,
    Structure,
    attenuation,
    fit_closed_form,
    gather_location_classes,
    learn,
)
from noise_learning.models.location_classes import location_keys
from noise_learning.models.time_translations import time_translation_classes

NOISE = qec.depolarizing(0.008)
SHOTS = 100_000


@pytest.fixture(scope="module")
def model() -> SharedParameterModel:
    return SharedParameterModel.of_memory(distance=3, rounds=4, reset=False)


@pytest.fixture(scope="module")
def moments(model: SharedParameterModel) -> Moments:
    circuit = qec.memory_circuit(distance=3, rounds=4, noise=NOISE, reset=False)
    shots = circuit.compile_detector_sampler(seed=3).sample(SHOTS, bit_packed=True)
    return Moments.from_shots(model.structure.subsets, shots)


def readouts(fit: NoiseFit) -> np.ndarray:
    """Which mechanisms are wrong results that are seen twice."""
    return np.array([key is not None and key[0] == "readout" for key in location_keys(fit.structure)])


def test_the_25_parameters_predict_the_dem(model: SharedParameterModel) -> None:
    factors = np.exp(np.random.default_rng(1).normal(0, 0.7, len(qec.NOISE_PARAMETERS)))
    rates = np.array([getattr(NOISE, name) for name in qec.NOISE_PARAMETERS]) * factors
    noise = qec.CircuitNoise(**dict(zip(qec.NOISE_PARAMETERS, rates.tolist(), strict=True)))
    truth = Structure.from_circuit(qec.memory_circuit(distance=3, rounds=4, noise=noise, reset=False))
    found = dict(zip(model.structure.detector_sets, model.set_matrix @ attenuation(rates), strict=True))
    np.testing.assert_allclose([found[s] for s in truth.detector_sets], truth.prior_attenuation, rtol=1e-2)


def test_the_shared_parameter_fit_explains_the_shots(model: SharedParameterModel, moments: Moments) -> None:
    fit = learn(moments, model)
    assert fit.estimator == "shared-parameters"
    assert fit.chi2_per_row < 1.3
    wrong = readouts(fit)
    expected = 2 * 0.008 / 3
    # Every wrong result that is seen twice, and by nothing else: meas_x and meas_z, each known by itself.
    assert len({round(p, 12) for p in fit.p[wrong]}) == 2
    assert (np.abs(fit.p[wrong] - expected) < 4 * fit.sigma[wrong]).all()
    assert (fit.sigma[wrong] < 0.05 * expected).all()


def test_the_closed_form_finds_every_mechanism(model: SharedParameterModel, moments: Moments) -> None:
    fit = fit_closed_form(moments, model.structure)
    truth = Structure.from_circuit(qec.memory_circuit(distance=3, rounds=4, noise=NOISE, reset=False))
    by_set = dict(zip(truth.detector_sets, truth.prior_attenuation, strict=True))
    a = fit.structure.membership @ attenuation(fit.p)
    sigma = fit.structure.membership @ (2 * np.exp(attenuation(fit.p)) * fit.sigma)
    z = (a - np.array([by_set[s] for s in fit.structure.detector_sets])) / sigma
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.85
    wrong = readouts(fit)
    error = 4 * float(np.mean(fit.sigma[wrong]))
    assert float(np.mean(fit.p[wrong])) == pytest.approx(2 * 0.008 / 3, abs=error)


def test_wrong_results_are_a_role_of_the_circuit() -> None:
    circuit = qec.memory_circuit(distance=3, rounds=4, noise=NOISE, reset=False)
    roles = SharedParameterModel.of_circuit(circuit, simplify=False)
    assert {"at M M flip", "at MX MX flip"} <= set(roles.names)
    assert not any("before M" in name for name in roles.names)
    truth = Structure.from_circuit(circuit)
    found = dict(zip(roles.structure.detector_sets, roles.set_matrix @ roles.guess, strict=True))
    np.testing.assert_allclose([found[s] for s in truth.detector_sets], truth.prior_attenuation, rtol=2e-2)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_what_one_detector_sees_is_shared_over_equal_rounds_only(basis: qec.Basis) -> None:
    """Next to the ends, too, where a wrong first or last result but one is seen by one detector alone."""
    structure = Structure.from_circuit(
        qec.memory_circuit(distance=3, rounds=8, basis=basis, noise=NOISE, reset=False)
    )
    classes, attenuations = time_translation_classes(structure), structure.prior_attenuation
    alone = np.flatnonzero([len(detectors) == 1 for detectors in structure.detector_sets])
    for number in np.unique(classes[alone]):
        np.testing.assert_allclose(np.ptp(attenuations[classes == number]), 0, atol=1e-9)
    assert np.bincount(classes[alone]).max() == 5  # of 7 rounds
    wrong = np.flatnonzero(
        [
            len(s) == 2 and structure.coordinates[s[1]][2] - structure.coordinates[s[0]][2] == 2
            for s in structure.detector_sets
        ]
    )
    assert np.unique(classes[wrong]).size == 8 * 3  # of every ancilla the first, the last and the others


def test_wrong_results_are_a_kind_of_their_own(model: SharedParameterModel, moments: Moments) -> None:
    fit = fit_closed_form(moments, model.structure)
    classes = gather_location_classes(fit)
    assert Counter(one.kind for one in classes)["readout"] == 8
    assert all(len(one.positions) == 1 for one in classes if one.kind == "readout")
    for mechanism, key in zip(fit.structure.mechanisms, location_keys(fit.structure), strict=True):
        times = sorted(fit.structure.coordinates[d][2] for d in mechanism.detectors)
        if key is not None and key[0] == "readout":
            assert times[1] - times[0] == 2
        if len(times) == 1:  # the ends reach two rounds in; the other basis has no detectors at 0 and 4
            assert key is None or 1 < times[0] < 3
