"""DemTables against Stim's own sampling of the same model."""

import numpy as np
import pytest
import stim
from hypothesis import given
from hypothesis import strategies as st

import qec
from qec.dem import gf2


@pytest.mark.parametrize("basis", ["x", "z"])
def test_fired_mechanisms_reproduce_stims_detections(basis):
    """Stim samples which mechanisms fired; the tables turn them into its detections and flips."""
    dem = qec.stim_memory_circuit(distance=3, rounds=3, basis=basis, p=0.02).detector_error_model(
        decompose_errors=True
    )
    tables = qec.normal_form(dem).tables
    detections, flips, fired = dem.compile_sampler(seed=7).sample(500, return_errors=True)
    assert fired is not None
    assert np.array_equal((tables.detectors.astype(int) @ fired.T.astype(int)).T % 2, detections)
    assert np.array_equal((tables.observables.astype(int) @ fired.T.astype(int)).T % 2, flips)
    assert np.allclose(tables.probabilities, [i.args_copy()[0] for i in dem.flattened() if i.type == "error"])  # pyright: ignore


def test_components_xor_to_their_mechanism_and_are_stored_once():
    dem = stim.DetectorErrorModel(
        """
        error(0.1) D0 D1 ^ D2 L0
        error(0.2) D2 L0
        error(0.3) D0 D0 D1
        repeat 2 {
            error(0.05) D3 L1
            shift_detectors 1
        }
        detector D5
        """
    )
    tables = qec.normal_form(dem).tables
    assert tables.num_detectors == 8
    assert tables.num_observables == 2
    assert tables.num_mechanisms == 5
    assert tables.component_detectors.shape[1] == 5  # D0 D1 | D2 L0 | D1 | D3 L1 | D4 L1
    assert tables.detectors.toarray().T.tolist()[0] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert tables.detectors.toarray().T.tolist()[2] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert tables.observables.toarray().T.tolist() == [[1, 0], [1, 0], [0, 0], [0, 1], [0, 1]]


@given(st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=6))
def test_from_columns_is_mod_2(columns):
    dense = np.zeros((7, len(columns)), dtype=int)
    for j, column in enumerate(columns):
        for r in column:
            dense[r, j] ^= 1
    assert np.array_equal(gf2.from_columns(columns, rows=7).toarray(), dense)


@given(st.integers(0, 2**32 - 1))
def test_even_sets_are_those_that_no_sum_of_columns_changes(seed):
    rng = np.random.default_rng(seed)
    rows, n = rng.integers(0, 6, 2)
    matrix = rng.integers(0, 2, (rows, n)) * rng.integers(0, 2, (rows, 1))
    sets = gf2.even_sets(gf2.from_columns([np.flatnonzero(c) for c in matrix.T], rows=int(rows)))
    sums = {tuple(matrix @ bits % 2) for bits in np.ndindex(*[2] * n)}
    vectors = np.array(list(np.ndindex(*[2] * rows))).reshape(2**rows, rows)
    even = ~(vectors @ sets.T % 2).any(axis=1)
    assert {tuple(v) for v in vectors[even]} == sums
    assert 2 ** (rows - len(sets)) == len(sums)


@given(st.integers(0, 2**32 - 1))
def test_product_is_mod_2(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (4, 9)), rng.integers(0, 2, (9, 5))
    left = gf2.from_columns([np.flatnonzero(c) for c in a.T], rows=4)
    right = gf2.from_columns([np.flatnonzero(c) for c in b.T], rows=9)
    assert np.array_equal(gf2.product(left, right).toarray(), a @ b % 2)
