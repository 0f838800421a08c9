"""A floor raises errors that flip one detector alone, and says how far off that is if the fit is right."""

import numpy as np
import pytest
import stim

from noise_learning import Moments, Structure, fit_closed_form


@pytest.fixture(scope="module")
def fit():
    """Single detectors of 2 %, 0.3 % and 0.1 %, and an edge of 0.1 %."""
    dem = stim.DetectorErrorModel("""
        error(0.02) D0
        error(0.003) D1 L0
        error(0.001) D0 D1
        error(0.001) D2
    """)
    structure = Structure.from_dem(dem)
    shots, _, _ = dem.compile_sampler(seed=1).sample(50_000, bit_packed=True)
    return fit_closed_form(Moments.from_shots(structure.subsets, shots), structure)


def test_standard_errors_are_those_of_the_floor_where_it_raises(fit):
    floored = fit.with_floor(0.01)
    raised = np.array([False, True, False, True])
    np.testing.assert_array_equal(floored.p, np.where(raised, 0.01, fit.p))
    np.testing.assert_array_equal(floored.sigma[~raised], fit.sigma[~raised])
    # Truths that the fit allows for are off by this much: mean square over standard error is 1.
    truths = np.random.default_rng(2).normal(fit.p, fit.sigma, (100_000, 4))
    np.testing.assert_allclose(np.sqrt(np.mean((floored.p - truths) ** 2, axis=0)), floored.sigma, rtol=0.01)
    assert floored.notes[-1] == "2 mechanisms that flip one detector alone were raised to 0.01"


def test_a_floor_below_all_rates_changes_nothing(fit):
    assert fit.with_floor(0.0) is fit
    for wrong in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match="is no probability from 0 to below 1/2"):
            fit.with_floor(wrong)
