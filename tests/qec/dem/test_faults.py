import numpy as np
import pytest
import stim
from hypothesis import given
from hypothesis import strategies as st

from qec import normal_form

from ... import all_errors

MECHANISMS = st.lists(
    st.tuples(
        st.floats(0, 0.49),
        st.lists(st.sampled_from(["D0", "D1", "D2", "D3", "D4", "^", "L0", "L1"]), min_size=1, max_size=6),
    ),
    max_size=8,
)


def dem_of(mechanisms) -> stim.DetectorErrorModel:
    return all_errors.dem_of(mechanisms, detectors=5, observables=2)


def syndrome_distribution(faults) -> np.ndarray:
    states = np.arange(1 << 5)
    distribution = (states == 0).astype(float)
    for p, detectors in zip(faults.probabilities, faults.detectors, strict=True):
        mask = sum(1 << d for d in detectors)
        distribution = (1 - p) * distribution + p * distribution[states ^ mask]
    return distribution


@given(MECHANISMS)
def test_merging_keeps_the_syndrome_distribution_exactly(mechanisms):
    dem = dem_of(mechanisms)
    faults = normal_form(dem).hyperedges
    expected = all_errors.joint(dem).sum(axis=0)
    np.testing.assert_allclose(syndrome_distribution(faults), expected, atol=1e-12)
    assert len(set(faults.detectors)) == len(faults)
    assert all(faults.detectors)


@given(MECHANISMS, st.data())
def test_matrices_and_flips_agree_with_the_lists(mechanisms, data):
    faults = normal_form(dem_of(mechanisms)).hyperedges
    check = faults.check_matrix()
    assert check.shape == (5, len(faults))
    assert check.dtype == np.uint8
    for j, detectors in enumerate(faults.detectors):
        assert tuple(np.flatnonzero(check[:, [j]].toarray())) == detectors
    chosen = data.draw(st.lists(st.integers(0, len(faults) - 1), unique=True)) if len(faults) else []
    flips = faults.flips_of(chosen)
    assert flips.shape == (2,)
    np.testing.assert_array_equal(flips, faults.observable_flips[chosen].sum(axis=0) % 2)


def test_same_detectors_become_one_fault_with_the_likelier_observable():
    faults = normal_form(
        stim.DetectorErrorModel("error(0.1) D0 L0\nerror(0.2) D0\nerror(0.05) D0 L0")
    ).hyperedges
    assert faults.detectors == ((0,),)
    assert faults.observable_flips.tolist() == [[0]]
    with_flip = 0.1 * 0.95 + 0.05 * 0.9
    assert faults.probabilities[0] == pytest.approx(with_flip * 0.8 + 0.2 * (1 - with_flip))


def test_components_stand_alone_as_edges_and_together_as_hyperedges():
    dem = stim.DetectorErrorModel("error(0.1) D0 D1 ^ D2 L0\nerror(0) D3\nerror(0.3) L0")
    edges, whole = normal_form(dem).edges, normal_form(dem).hyperedges
    assert edges.detectors == ((0, 1), (2,))
    assert edges.observable_flips.tolist() == [[0], [1]]
    assert whole.detectors == ((0, 1, 2),)
    assert whole.observable_flips.tolist() == [[1]]
    assert whole.num_detectors == 4


def test_weights_are_log_odds():
    dem = stim.DetectorErrorModel(
        "error(0.1) D0\nerror(0.5) D1\nerror(0.9) D2\nerror(1) D3\nerror(1e-200) D4"
    )
    weights = normal_form(dem).hyperedges.weights()
    np.testing.assert_allclose(weights[:3], [np.log(9), 0, np.log(9)], atol=1e-12)
    assert len(weights) == 4
    assert 400 < weights[3] < np.inf
