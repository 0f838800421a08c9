"""Model selection, the hybrid, and DEMs that stay valid whatever the shots are."""

import numpy as np
import pymatching
import pytest
import stim

import qec
from noise_learning import (
    Moments,
    NoiseFit,
    SharedParameterModel,
    Shrinkage,
    Structure,
    assemble,
    attenuation,
    fit_closed_form,
    fit_hybrid,
    fit_shared_parameters,
    fit_stationary,
    learn,
)
from noise_learning.models.time_translations import time_translation_classes

NOISE = qec.depolarizing(0.008)


@pytest.fixture(scope="module")
def model() -> SharedParameterModel:
    return SharedParameterModel.of_memory(distance=3, rounds=3)


def device(seed: int) -> stim.Circuit:
    return qec.memory_circuit(distance=3, rounds=3, noise=NOISE, variation=qec.LocationVariation(0.5, seed))


def moments_of(model: SharedParameterModel, circuit: stim.Circuit, shots: int, seed: int) -> Moments:
    detections = circuit.compile_detector_sampler(seed=seed).sample(shots, bit_packed=True)
    return Moments.from_shots(model.structure.subsets, detections)


def deviation(fit: NoiseFit, circuit: stim.Circuit) -> float:
    """Root mean square error of attenuations of detector sets, in units of their mean."""
    truth = Structure.from_circuit(circuit)
    found = dict(zip(truth.detector_sets, truth.prior_attenuation, strict=True))
    expected = np.array([found[s] for s in fit.structure.detector_sets])
    a = fit.structure.membership @ attenuation(fit.p)
    return float(np.sqrt(np.mean((a - expected) ** 2)) / expected.mean())


def check_valid(fit: NoiseFit) -> None:
    for values in (fit.p, fit.sigma):
        assert np.isfinite(values).all()
    assert (fit.p > 0).all()
    assert (fit.p < 0.5).all()
    assert (fit.sigma >= 0).all()
    for correlated in (False, True):
        pymatching.Matching.from_detector_error_model(fit.dem(), enable_correlations=correlated)


def test_model_selection_keeps_the_shared_parameter_fit_on_a_homogeneous_device(model):
    fit = learn(moments_of(model, qec.memory_circuit(distance=3, rounds=3, noise=NOISE), 50_000, 1), model)
    assert fit.estimator == "shared-parameters"
    assert "the shared-parameter fit was chosen" in fit.notes[-1]


def test_model_selection_and_hybrid_on_a_device_whose_locations_differ(model):
    circuit = device(4)
    for shots in (10_000, 100_000):
        moments = moments_of(model, circuit, shots, 2)
        shared, closed = fit_shared_parameters(moments, model), fit_closed_form(moments, model.structure)
        chosen = learn(moments, model)
        assert chosen.estimator == "hybrid"
        assert "differ in their rates" in chosen.notes[-1]
        best = min(deviation(shared, circuit), deviation(closed, circuit))
        assert deviation(chosen, circuit) < best


def test_shrinkage_has_the_shared_parameter_fit_as_its_limit(model):
    moments = moments_of(model, qec.memory_circuit(distance=3, rounds=3, noise=NOISE), 20_000, 3)
    shared = fit_shared_parameters(moments, model)
    fit = fit_hybrid(moments, model, shared, shrinkage=Shrinkage(1e-4, 0.5))
    mine, its = (model.structure.membership @ attenuation(f.p) for f in (fit, shared))
    np.testing.assert_allclose(mine, its, rtol=0.05, atol=1e-5)
    with pytest.raises(ValueError, match="tau=0"):
        Shrinkage(0, 0.5)
    with pytest.raises(ValueError, match="fit_shared_parameters"):
        fit_hybrid(moments, model, fit_closed_form(moments, model.structure))


def test_diagonal_covariance_of_large_problems_agrees(model, monkeypatch):
    moments = moments_of(model, device(6), 50_000, 3)
    shared = fit_shared_parameters(moments, model)
    dense = fit_hybrid(moments, model, shared)
    monkeypatch.setattr("noise_learning.estimators.hybrid._DENSE_ROWS", 0)
    rough = fit_hybrid(moments, model, shared)
    assert any("diagonal" in note for note in rough.notes)
    assert deviation(rough, device(6)) < deviation(shared, device(6))
    assert deviation(dense, device(6)) < 1.1 * deviation(rough, device(6))
    assert 0.5 < np.median(rough.sigma / dense.sigma) < 2


def test_hybrid_errors_are_calibrated(model):
    inside = []
    for seed in range(4):
        circuit = device(seed)
        truth = Structure.from_circuit(circuit)
        found = dict(zip(truth.detector_sets, truth.prior_attenuation, strict=True))
        fit = learn(moments_of(model, circuit, 100_000, seed), model)
        expected = np.array([found[s] for s in model.structure.detector_sets])
        a = model.structure.membership @ attenuation(fit.p)
        sigma = model.structure.membership @ (2 * np.exp(attenuation(fit.p)) * fit.sigma)
        inside.append(np.mean(np.abs(a - expected) < sigma))
    assert 0.6 < np.mean(inside) < 0.78


@pytest.mark.parametrize("p", [0.001, 0.02])
@pytest.mark.parametrize("shots", [13, 50, 300])
def test_few_shots_give_a_valid_dem(p, shots, model):
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(p))
    moments = moments_of(model, circuit, shots, 5)
    for fit in (
        learn(moments, model),
        fit_closed_form(moments, model.structure),
        fit_hybrid(moments, model, fit_shared_parameters(moments, model)),
    ):
        check_valid(fit)


@pytest.mark.parametrize("kind", ["never", "one always", "one never"])
def test_strange_detectors_give_a_valid_dem(kind, model):
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.01))
    bits = np.array(circuit.compile_detector_sampler(seed=1).sample(2000))
    if kind == "never":
        bits[:] = False
    else:
        bits[:, 7] = kind == "one always"
    moments = Moments.from_shots(model.structure.subsets, np.packbits(bits, axis=1, bitorder="little"))
    for fit in (learn(moments, model), fit_closed_form(moments, model.structure)):
        check_valid(fit)
        if kind != "never":
            assert (7,) in fit.dropped
            assert any("dropped" in note for note in fit.notes)


@pytest.mark.parametrize("kind", ["always", "random", "alternating"])
def test_shots_that_tell_nothing_are_refused(kind, model):
    bits = np.ones((2000, model.structure.num_detectors), dtype=bool)
    if kind == "random":
        bits = np.random.default_rng(0).integers(0, 2, size=bits.shape).astype(bool)
    elif kind == "alternating":
        bits[::2] = False
    moments = Moments.from_shots(model.structure.subsets, np.packbits(bits, axis=1, bitorder="little"))
    count = {"always": "24 always", "random": "24 fire in half", "alternating": "24 fire in half"}[kind]
    for fit in (lambda: learn(moments, model), lambda: fit_closed_form(moments, model.structure)):
        with pytest.raises(ValueError, match=f"nothing can be learned from 2,000 shots.*{count}"):
            fit()


@pytest.mark.parametrize("shots", [1, 5, 12])
def test_a_handful_of_shots_is_refused_with_the_number_that_would_do(shots, model):
    moments = moments_of(model, qec.memory_circuit(distance=3, rounds=3, noise=NOISE), shots, 5)
    for fit in (
        lambda: learn(moments, model),
        lambda: fit_closed_form(moments, model.structure),
        lambda: fit_stationary(moments, model.structure),
    ):
        with pytest.raises(
            ValueError, match=f"too few shots to learn from, {shots}: .* 24 detectors .* takes 13"
        ):
            fit()


def test_a_dead_detector_spoils_nothing_else(model):
    """It says nothing of its mechanisms, and no more of the others' than its absence would."""
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.006))
    bits = np.array(circuit.compile_detector_sampler(seed=3).sample(20_000))
    dead = model.structure.num_detectors // 2
    fits = []
    for broken in (False, True):
        bits[:, dead] &= not broken
        packed = np.packbits(bits, axis=1, bitorder="little")
        fits.append(learn(Moments.from_shots(model.structure.subsets, packed), model))
    whole, without = fits
    assert without.estimator == whole.estimator == "shared-parameters"
    assert any(f"D{dead}" in note and "never fires" in note for note in without.notes)
    assert np.median(without.p / whole.p) == pytest.approx(1, abs=0.03)
    assert without.chi2_per_row < 1.4


def test_detectors_constant_by_construction_are_fine():
    model = SharedParameterModel.of_memory(distance=3, rounds=3, perfect_last_round=True)
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=NOISE, perfect_last_round=True)
    check_valid(learn(moments_of(model, circuit, 5000, 1), model))


def test_dem_keeps_components_coordinates_and_counts(model):
    dem = assemble(model.structure, model.structure.prior)
    circuit = qec.memory_circuit(distance=3, rounds=3, noise=qec.depolarizing(0.005))
    expected = circuit.detector_error_model(decompose_errors=True)
    assert dem.num_detectors == expected.num_detectors
    assert dem.num_observables == expected.num_observables
    assert dem.get_detector_coordinates() == expected.get_detector_coordinates()
    assert Structure.from_dem(dem).mechanisms == Structure.from_dem(expected).mechanisms
    with pytest.raises(ValueError, match="mechanism 0"):
        assemble(model.structure, np.zeros(len(model.structure.mechanisms)))


def test_simplified_structure_has_one_mechanism_per_symptoms(model):
    simple = model.structure.simplified()
    assert len(simple.mechanisms) < len(model.structure.mechanisms)
    assert len(simple.by_symptoms) == len(simple.mechanisms)
    np.testing.assert_allclose(simple.prior_attenuation, model.structure.prior_attenuation)


def test_time_translation_classes_are_translations(model):
    structure = SharedParameterModel.of_memory(distance=3, rounds=6).structure
    classes = time_translation_classes(structure)
    middle = [k for k, s in enumerate(structure.detector_sets) if _bulk(structure, s)]
    sizes = np.bincount(classes)[classes[middle]]
    assert sizes.min() >= 2
    for k in middle[:20]:
        for other in np.flatnonzero(classes == classes[k]):
            assert _shape(structure, structure.detector_sets[k]) == _shape(
                structure, structure.detector_sets[other]
            )


def test_an_ancilla_ends_where_its_own_detectors_do(model):
    """Those of the other basis start a round later and end a round earlier than the experiment."""
    structure = SharedParameterModel.of_memory(distance=3, rounds=6).structure
    classes = time_translation_classes(structure)
    single = {
        structure.coordinates[s[0]]: classes[k] for k, s in enumerate(structure.detector_sets) if len(s) == 1
    }
    positions = {c[:-1] for c in single}
    late = 0
    for x, y in positions:
        times = sorted(t for (a, b, t) in structure.coordinates if (a, b) == (x, y))
        inner = {single[x, y, t] for t in times[1:-1]}
        assert len(inner) == 1
        assert len({single[x, y, times[0]], single[x, y, times[-1]], *inner}) == 3
        late += times[0] > 0
    assert late == len(positions) / 2


def _bulk(structure: Structure, detectors: tuple[int, ...]) -> bool:
    return all(2 <= structure.coordinates[d][2] <= 4 for d in detectors)


def _shape(structure: Structure, detectors: tuple[int, ...]) -> list[tuple[float, ...]]:
    first = min(structure.coordinates[d][2] for d in detectors)
    return sorted((*structure.coordinates[d][:2], structure.coordinates[d][2] - first) for d in detectors)
