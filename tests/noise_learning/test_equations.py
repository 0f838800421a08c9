"""The logarithm's bias is taken out, and what is not seen becomes small, not zero."""

import numpy as np
import pytest
import stim
from scipy.stats import binom

from noise_learning import Moments, Structure, Subsets, fit_closed_form, strength
from noise_learning.equations import Equations


def test_the_mean_over_all_outcomes_is_that_of_infinitely_many_shots():
    """One set for each possible count of 200 shots, weighted by its probability; uncorrected: 1.4e-3 off."""
    shots, odd = 200, 0.1
    outcomes = np.arange(shots + 1)
    subsets = Subsets.of_sets([(k,) for k in outcomes.tolist()], num_detectors=shots + 1)
    equations = Equations.of(Moments(subsets, outcomes.astype(float), float(shots), float(shots)))
    mean = binom.pmf(outcomes, shots, odd) @ equations.b
    assert mean == pytest.approx(-np.log(1 - 2 * odd), abs=1e-4)


def test_moments_at_and_below_zero_are_dropped():
    subsets = Subsets.of_sets([(0,), (1,), (2,)], num_detectors=3)
    equations = Equations.of(Moments(subsets, np.array([10.0, 50.0, 100.0]), 100.0, 100.0))
    assert equations.valid.tolist() == [True, False, False]
    assert equations.b[1:].tolist() == [0, 0]


def test_a_mechanism_that_never_acts_gets_a_tenth_of_the_scaled_prior(exact_moments):
    dem = stim.DetectorErrorModel("error(0.01) D0\nerror(0.02) D1\nerror(0.04) D0 D1")
    structure = Structure.from_dem(dem)
    truth = np.array([0.01, 0.02, 1e-12])
    fit = fit_closed_form(exact_moments(structure, truth), structure)
    scale = strength(truth).sum() / strength(structure.prior).sum()
    assert strength(fit.p)[2] == pytest.approx(0.1 * scale * strength(np.array(0.04)), rel=1e-3)
