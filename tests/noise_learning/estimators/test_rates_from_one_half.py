"""Rates of one half and more are learned or named, and the other rates do not mind."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import stim
from hypothesis import given, settings
from hypothesis import strategies as st

import qec
from global_decoders import make_decoder
from noise_learning import (
    Moments,
    NoiseFit,
    SharedParameterModel,
    Structure,
    attenuation,
    by_location,
    fit_closed_form,
    fit_shared_parameters,
    fit_stationary,
    learn,
)
from noise_learning.estimators.certain_errors import explain
from noise_learning.estimators.detectors import DetectorStates
from noise_learning.models.structure import probability

ESTIMATORS = {
    "closed form": lambda moments, model: fit_closed_form(moments, model.structure),
    "stationary": lambda moments, model: fit_stationary(moments, model.structure),
    "shared parameters": fit_shared_parameters,
    "learn": learn,
}


@pytest.fixture(scope="module")
def model() -> SharedParameterModel:
    circuit = qec.memory_circuit(distance=3, rounds=6, noise=qec.depolarizing(0.008))
    return SharedParameterModel.of_circuit(circuit)


@pytest.fixture(scope="module")
def bits(model: SharedParameterModel) -> np.ndarray:
    circuit = qec.memory_circuit(distance=3, rounds=6, noise=qec.depolarizing(0.008))
    return np.array(circuit.compile_detector_sampler(seed=5).sample(40_000))


def moments_of(structure: Structure, bits: np.ndarray) -> Moments:
    return Moments.from_shots(structure.subsets, np.packbits(bits, axis=1, bitorder="little"))


def rates(fit: NoiseFit) -> dict[tuple[int, ...], tuple[float, float]]:
    """Probability and error of each detector set with one mechanism."""
    return {
        m.detectors: (float(p), float(s))
        for m, p, s in zip(fit.structure.mechanisms, fit.p, fit.sigma, strict=True)
    }


def circuit_with(rate: float) -> stim.Circuit:
    return stim.Circuit(f"""
        R 0 1 2
        X_ERROR(0.03) 1
        X_ERROR(0.02) 2
        X_ERROR({rate}) 0
        CX 0 1
        TICK
        X_ERROR(0.05) 0 1
        M 0 1 2
        DETECTOR(0, 0, 0) rec[-3]
        DETECTOR(1, 0, 0) rec[-2]
        DETECTOR(2, 0, 0) rec[-1]
    """)


@pytest.mark.parametrize("estimator", ["closed form", "stationary", "learn"])
@pytest.mark.parametrize("given_rate", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("true_rate", [0.4, 0.45, 0.5, 0.55, 0.9, 0.99])
def test_any_rate_is_learned_whatever_the_circuit_says(
    true_rate: float, given_rate: float, estimator: str
) -> None:
    model = SharedParameterModel.of_circuit(circuit_with(given_rate), share=by_location)
    sampler = circuit_with(true_rate).compile_detector_sampler(seed=1)
    fit = ESTIMATORS[estimator](
        Moments.from_shots(model.structure.subsets, sampler.sample(100_000, bit_packed=True)), model
    )
    learned = rates(fit)
    p, sigma = learned[0, 1]
    assert abs(p - true_rate) < 4 * sigma + 1e-3
    assert sigma < 0.01
    p, sigma = learned[2,]
    assert abs(p - 0.02) < 4 * sigma
    named = any("half" in note or "1/2" in note for note in fit.notes)
    assert named == (true_rate == 0.5 or (true_rate > 0.5) != (given_rate > 0.5))


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_a_random_detector_leaves_the_others_as_if_it_were_not_there(
    estimator: str, model: SharedParameterModel, bits: np.ndarray
) -> None:
    """Held against a fit of the same shots without the detector, whose DEM has it nowhere."""
    structure = model.structure
    random = structure.num_detectors // 2
    as_it_was, bits = bits, bits.copy()
    bits[:, random] = np.random.default_rng(1).random(len(bits)) < 0.5
    fit = ESTIMATORS[estimator](moments_of(structure, bits), model)
    assert any(f"D{random} " in note and "cannot be told from one half" in note for note in fit.notes)
    assert (random,) in fit.dropped

    without = structure.without([random])
    assert all(random not in members for members in without.detector_sets)
    expected = ESTIMATORS[estimator](moments_of(without, bits), model.on(without))
    assert expected.detectors is not None
    assert not expected.detectors.left_out
    seen = without.set_of >= 0
    np.testing.assert_allclose(fit.p[seen], expected.p[seen], rtol=1e-9)
    before = ESTIMATORS[estimator](moments_of(structure, as_it_was), model)
    others = np.array([random not in m.detectors for m in structure.mechanisms])
    moved = np.abs(np.log(fit.p / before.p))[others] > np.log(1.6)
    assert moved.mean() < 0.02  # it was a fifth


def test_a_random_detector_is_learned_as_such(model: SharedParameterModel, bits: np.ndarray) -> None:
    """Where a mechanism flips it alone, that one happens in half of the shots: decoders do not trust it."""
    structure = model.structure
    detector = next(s[0] for s in structure.detector_sets if len(s) == 1)
    bits = bits.copy()
    bits[:, detector] = np.random.default_rng(1).random(len(bits)) < 0.5
    fit = learn(moments_of(structure, bits), model)
    assert 0.48 < probability(fit_attenuation(fit, (detector,))) < 0.5
    assert 0.48 < firing(fit)[detector] < 0.5


def fit_attenuation(fit: NoiseFit, members: tuple[int, ...]) -> np.ndarray:
    """Of all mechanisms with these detectors together."""
    same = [m.detectors == members for m in fit.structure.mechanisms]
    return attenuation(fit.p[same]).sum()


@pytest.mark.parametrize("rate", [0.8, 0.9, 0.98])
@pytest.mark.parametrize("where", ["measurement", "data"])
def test_a_place_that_is_wrong_more_often_than_not_is_found_in_every_round(
    where: str, rate: float, model: SharedParameterModel, bits: np.ndarray
) -> None:
    structure = model.structure
    index = {c: k for k, c in enumerate(structure.coordinates)}
    members = next(s for s in structure.detector_sets if _is(where, [structure.coordinates[d] for d in s]))
    shape = [structure.coordinates[d] for d in members]
    steps = range(-6, 7)
    shifted = [tuple(index.get((x, y, t + step), -1) for x, y, t in shape) for step in steps]
    chain = [s for s in shifted if -1 not in s]
    bits = bits.copy()
    random = np.random.default_rng(3)
    for pair in chain:
        bits[:, pair] ^= (random.random(len(bits)) < rate)[:, None]
    fit = learn(moments_of(structure, bits), model)
    for pair in chain:
        there = [float(p) for m, p in zip(structure.mechanisms, fit.p, strict=True) if m.detectors == pair]
        assert abs(max(there) - rate) < 0.03
    assert sum(p > 0.5 for p in fit.p) == len(chain)
    note = next(note for note in fit.notes if "above 1/2" in note)
    assert note.startswith(f"{len(chain)} mechanisms")
    np.testing.assert_allclose(firing(fit), bits.mean(axis=0), atol=0.02)


def _is(where: str, shape: list[tuple[float, ...]]) -> bool:
    positions = {c[:2] for c in shape}
    times = {c[2] for c in shape}
    if len(shape) != 2 or min(times) < 2 or max(times) > 4:
        return False
    return len(positions) == 1 if where == "measurement" else len(positions) == 2 and len(times) == 1


def firing(fit: NoiseFit) -> np.ndarray:
    """float64 (detectors,): how often each fires, from products of 1 - 2 p."""
    mean = np.ones(fit.structure.num_detectors)
    for mechanism, p in zip(fit.structure.mechanisms, fit.p, strict=True):
        mean[list(mechanism.detectors)] *= 1 - 2 * p
    return (1 - mean) / 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.02, 0.98).filter(lambda p: abs(p - 0.5) > 0.02), min_size=6, max_size=6))
def test_learned_models_have_the_distribution_of_the_shots(probabilities: list[float]) -> None:
    """Held against exact enumeration, for rates over all of [0, 1]."""
    sets = [(0,), (0, 1), (1, 2), (2,), (0, 1, 2), (2, 3)]
    text = "\n".join(
        f"error({p}) {' '.join(f'D{d}' for d in s)}" for p, s in zip(probabilities, sets, strict=True)
    )
    guess = "\n".join(
        f"error({min(p, 1 - p)}) {' '.join(f'D{d}' for d in s)}"
        for p, s in zip(probabilities, sets, strict=True)
    )
    structure = Structure.from_dem(stim.DetectorErrorModel(guess))
    means = np.array(
        [
            np.prod(
                [
                    1 - 2 * p
                    for p, s in zip(probabilities, sets, strict=True)
                    if len(set(s) & set(structure.subsets.detectors(k))) % 2
                ]
            )
            for k in range(len(structure.subsets))
        ]
    )
    shots = 1e15
    fit = fit_closed_form(Moments(structure.subsets, shots * (1 - means) / 2, shots, shots), structure)
    np.testing.assert_allclose(
        distribution(fit.dem()), distribution(stim.DetectorErrorModel(text)), atol=1e-6
    )


def distribution(dem: stim.DetectorErrorModel) -> np.ndarray:
    """float64 (16,): probability of each set of four detectors."""
    structure = Structure.from_dem(dem)
    errors = list(zip(structure.mechanisms, structure.given.tolist(), strict=True))
    found = np.zeros(16)
    for fired in product((0, 1), repeat=len(errors)):
        weight, flips = 1.0, 0
        for bit, (mechanism, p) in zip(fired, errors, strict=True):
            weight *= p if bit else 1 - p
            for detector in mechanism.detectors if bit else ():
                flips ^= 1 << detector
        found[flips] += weight
    return found


def test_detectors_that_nothing_explains_are_named(model: SharedParameterModel) -> None:
    """Pairs only: a single detector that fires more often than not has no mechanism."""
    dem = stim.DetectorErrorModel("error(0.02) D0 D1\nerror(0.03) D1 D2\nerror(0.01) D3\nerror(0.01) D3 D4")
    structure = Structure.from_dem(dem)
    bits = np.array(dem.compile_sampler(seed=1).sample(20_000)[0])
    bits[:, 0] ^= True
    fit = fit_closed_form(moments_of(structure, bits), structure)
    assert any(note.startswith("D0 fires in 97.9%") and "no explanation" in note for note in fit.notes)
    learned = rates(fit)
    assert abs(learned[1, 2][0] - 0.03) < 4 * learned[1, 2][1]
    assert all(p < 0.5 for p in fit.p)


def test_another_explanation_that_is_nearly_as_likely_is_named() -> None:
    dem = stim.DetectorErrorModel("error(0.1) D0 D1\nerror(0.35) D0\nerror(0.3) D1")
    structure = Structure.from_dem(dem)
    found = explain(structure, np.array([True, True]), attenuation(structure.prior)[[1, 2, 0]])
    assert found.sets == ((0,), (1,))
    assert found.alternatives == ((0, 1),)
    clear = explain(structure, np.array([True, True]), attenuation(np.array([0.01, 0.01, 0.3])))
    assert (clear.sets, clear.alternatives) == (((0, 1),), ())


def test_few_shots_leave_the_states_undecided(model: SharedParameterModel) -> None:
    """A moment within noise of zero is nothing special where all of them are small or shots are few."""
    circuit = qec.memory_circuit(distance=3, rounds=6, noise=qec.depolarizing(0.03))
    for shots in (30, 100, 300):
        few = circuit.compile_detector_sampler(seed=2).sample(shots, bit_packed=True)
        moments = Moments.from_shots(model.structure.subsets, few)
        assert DetectorStates.of(moments, model.structure).left_out == ()


def test_decoders_take_learned_rates_above_one_half() -> None:
    """An ancilla that is mostly wrong costs no more than one that is as often right, once that is learned."""
    clean = qec.memory_circuit(distance=3, rounds=5, noise=qec.depolarizing(0.01))
    model = SharedParameterModel.of_circuit(clean)
    index = {c: k for k, c in enumerate(model.structure.coordinates)}
    x, y, _ = next(c for c in index if c[2] == 2)
    column = sorted((d for c, d in index.items() if c[:2] == (x, y)))
    detections, flips = clean.compile_detector_sampler(seed=3).sample(40_000, separate_observables=True)
    wrong = {}
    for rate in (0.1, 0.9):
        bits = np.array(detections)
        random = np.random.default_rng(1).random((len(bits), len(column) - 1))
        turned = random < 0.1 if rate < 0.5 else random >= 0.1
        for k in range(len(column) - 1):
            bits[:, column[k : k + 2]] ^= turned[:, [k]]
        fit = learn(moments_of(model.structure, bits[:20_000]), model)
        decoder = make_decoder("pymatching").compile_decoder_for_dem(dem=fit.dem())
        packed = np.packbits(bits[20_000:], axis=1, bitorder="little")
        answers = decoder.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
        wrong[rate] = int((answers[:, 0] != flips[20_000:, 0]).sum())
        assert (fit.p > 0.5).sum() == (len(column) - 1 if rate > 0.5 else 0)
    assert 0 < wrong[0.9] < 1.1 * wrong[0.1] + 10
