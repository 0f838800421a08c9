"""Several numbers of rounds of one patch, learned together."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import qec
from noise_learning import (
    LearningData,
    Moments,
    Structure,
    attenuation,
    fit_stationary,
    fit_stationary_jointly,
    with_rounds,
)

SHOTS = 8_000


@cache
def _experiment(rounds: int) -> tuple[Structure, LearningData]:
    circuit = qec.memory_circuit(
        distance=3, rounds=rounds, noise=qec.depolarizing(0.006), variation=qec.LocationVariation(0.5, 3)
    )
    structure = Structure.from_circuit(circuit).simplified()
    shots = circuit.compile_detector_sampler(seed=rounds).sample(SHOTS, bit_packed=True)
    return structure, LearningData.of(Moments.from_shots(structure.subsets, shots), structure)


def _error(structure: Structure, p: np.ndarray) -> float:
    """Root mean square of attenuations against the truth, which is the structure's prior."""
    return float(np.sqrt(np.mean((structure.membership @ attenuation(p) - structure.prior_attenuation) ** 2)))


def test_one_experiment_is_the_stationary_fit() -> None:
    structure, data = _experiment(5)
    np.testing.assert_array_equal(fit_stationary_jointly([data]).fits[0].p, fit_stationary(data, structure).p)


def test_together_they_know_more_and_predict_other_numbers_of_rounds() -> None:
    short, data = _experiment(5)
    joint = fit_stationary_jointly([data, *(_experiment(rounds)[1] for rounds in (7, 10))])
    alone = _error(short, fit_stationary(data, short).p)
    assert _error(short, joint.fits[0].p) < 0.75 * alone
    true, _ = _experiment(8)
    predicted = joint.predict(with_rounds(short, 8))
    assert predicted.notes[1:] == ()
    assert predicted.structure.subsets.digest == true.subsets.digest
    places = {(m.detectors, m.observables): j for j, m in enumerate(predicted.structure.mechanisms)}
    order = [places[m.detectors, m.observables] for m in true.mechanisms]
    assert _error(true, predicted.p[order]) < 0.75 * alone
    z = (predicted.p[order] - true.prior) / predicted.sigma[order]
    assert 0.5 < np.mean(np.abs(z) < 1) < 0.95
    assert all(abs(trend.slope) < 4 * trend.sigma for trend in joint.trends.values())


def test_sets_without_a_translation_keep_the_scaled_guess(exact_moments) -> None:
    """One round touches both ends at once, as no longer experiment does."""
    structure, one = (
        Structure.from_circuit(qec.memory_circuit(distance=3, rounds=rounds, noise=qec.depolarizing(0.004)))
        for rounds in (5, 1)
    )
    moments = exact_moments(structure, 2 * structure.prior)
    joint = fit_stationary_jointly([LearningData.of(moments, structure)])
    predicted = joint.predict(one)
    assert "keep the given rates, scaled" in predicted.notes[-1]
    assert np.median(predicted.p / one.prior) == pytest.approx(2, rel=0.15)


def test_rates_that_grow_with_the_round_show_as_a_trend(exact_moments) -> None:
    structure = Structure.from_circuit(
        qec.memory_circuit(distance=3, rounds=7, noise=qec.depolarizing(0.004))
    ).simplified()
    times = np.array([c[2] for c in structure.coordinates])
    first = np.array([times[list(m.detectors)].min() if m.detectors else 0.0 for m in structure.mechanisms])
    moments = exact_moments(structure, structure.prior * (1 + 0.04 * (first - 3)))
    trends = fit_stationary_jointly([LearningData.of(moments, structure)]).trends
    assert [trends[size].slope for size in (2, 4)] == pytest.approx([0.04, 0.04], rel=0.1)


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit_stationary_jointly([])
