"""Correlations of no mechanism are found where there are some, whatever the rates of the mechanisms."""

import numpy as np

import qec
from noise_learning import Moments, SharedParameterModel, Structure, learn
from noise_learning.estimators.unmodelled import UnmodelledTest


def _shots(seed: int, *, crosstalk: float) -> tuple[Structure, np.ndarray]:
    """Detections in which every fourth pair that is only part of mechanisms flips with that chance."""
    circuit = qec.memory_circuit(
        distance=3, rounds=6, noise=qec.depolarizing(0.006), variation=qec.LocationVariation(0.5, seed)
    )
    structure = Structure.from_circuit(circuit).simplified()
    bits = np.array(circuit.compile_detector_sampler(seed=seed).sample(20_000))
    random = np.random.default_rng(seed)
    known = set(structure.detector_sets)
    subsets = map(structure.subsets.detectors, range(len(structure.subsets)))
    for pair in [s for s in subsets if len(s) == 2 and s not in known][::4]:
        bits[:, pair] ^= (random.random(len(bits)) < crosstalk)[:, None]
    return structure, np.packbits(bits, axis=1, bitorder="little")


def test_uneven_rates_alone_are_no_such_correlations() -> None:
    squares = []
    for seed in range(4):
        structure, shots = _shots(seed, crosstalk=0.0)
        test = UnmodelledTest.of(Moments.from_shots(structure.subsets, shots), structure)
        assert test.sets > 50
        assert not test.found
        squares.append(test.mean_square)
    assert 0.8 < np.mean(squares) < 1.1


def test_crosstalk_is_found_and_model_selection_says_so() -> None:
    structure, shots = _shots(1, crosstalk=0.01)
    moments = Moments.from_shots(structure.subsets, shots)
    test = UnmodelledTest.of(moments, structure)
    assert test.found
    fit = learn(moments, SharedParameterModel.of_time_translations(structure))
    assert "the closed form, averaged over rounds, was chosen" in fit.notes[-1]
    assert f"{test.mean_square:.3g}" in fit.notes[-1]


def test_few_shots_or_dead_detectors_raise_no_alarm() -> None:
    structure, shots = _shots(2, crosstalk=0.0)
    for few in (shots[:20], shots[:50], np.zeros_like(shots[:50])):
        assert not UnmodelledTest.of(Moments.from_shots(structure.subsets, few), structure).found
