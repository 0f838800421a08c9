"""The logarithm's bias is taken out, and what is not seen becomes small, not zero."""

import numpy as np
import pytest
import stim
from scipy.stats import binom

from noise_learning import Moments, Structure, attenuation, fit_closed_form
from noise_learning.estimators.detectors import DetectorStates
from noise_learning.estimators.equations import Equations


def _equations(odd: np.ndarray, shots: float) -> Equations:
    """Of detectors that are flipped by one mechanism each and fired so often."""
    structure = Structure.from_dem(
        stim.DetectorErrorModel("\n".join(f"error(0.1) D{k}" for k in range(len(odd))))
    )
    moments = Moments(structure.subsets, odd, shots, shots)
    return Equations.of(moments, DetectorStates.of(moments, structure))


def test_the_mean_over_all_outcomes_is_that_of_infinitely_many_shots():
    """One set for each possible count of 200 shots, weighted by its probability; uncorrected: 1.4e-3 off."""
    shots, odd = 200, 0.1
    outcomes = np.arange(shots + 1)
    equations = _equations(outcomes.astype(float), float(shots))
    mean = binom.pmf(outcomes, shots, odd) @ equations.b
    assert mean == pytest.approx(-np.log(1 - 2 * odd), abs=1e-4)


def test_moments_within_noise_of_zero_and_of_stuck_detectors_are_dropped():
    equations = _equations(np.array([10.0, 50.0, 100.0, 80.0]), 100.0)
    assert equations.valid.tolist() == [True, False, False, True]
    assert equations.b[1:3].tolist() == [0, 0]
    assert equations.b[3] == pytest.approx(-np.log(0.6), abs=0.02)  # one that fires more often than not


def test_a_mechanism_that_never_acts_gets_a_tenth_of_the_scaled_prior(exact_moments):
    dem = stim.DetectorErrorModel("error(0.01) D0\nerror(0.02) D1\nerror(0.04) D0 D1")
    structure = Structure.from_dem(dem)
    truth = np.array([0.01, 0.02, 1e-12])
    fit = fit_closed_form(exact_moments(structure, truth), structure)
    scale = attenuation(truth).sum() / attenuation(structure.prior).sum()
    assert attenuation(fit.p)[2] == pytest.approx(0.1 * scale * attenuation(np.array(0.04)), rel=1e-3)


def test_a_broken_detector_is_named_with_its_place():
    dem = stim.DetectorErrorModel(
        "error(0.1) D0 D1\nerror(0.1) D1 D2\nerror(0.1) D2 D3\ndetector(1, 2, 3) D0\ndetector(4, 5, 6.5) D3"
    )
    structure = Structure.from_dem(dem)
    bits = np.random.default_rng(0).random((2000, 4)) < 0.2
    bits[:, 0], bits[:, 3] = True, False

    def broken(shots: np.ndarray) -> list[str]:
        moments = Moments.from_shots(structure.subsets, np.packbits(shots, axis=1, bitorder="little"))
        notes = fit_closed_form(moments, structure).notes
        return [note for note in notes if "broken" in note]

    always, never = broken(bits)
    assert always.startswith("D0 at (1, 2, 3) always fires in 2,000 shots")
    assert never.startswith("D3 at (4, 5, 6.5) never fires in 2,000 shots")
    bits[:, 0], bits[::5, 3] = bits[:, 1], True
    assert broken(bits) == []
    assert broken(bits[:10] & False) == []  # too few shots to say so
