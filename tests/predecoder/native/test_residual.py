"""Residual and flips in C++ equal those of the sparse matrices, on any layout and any moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predecoder.correction.residual import SparseResidual
from predecoder.native import NativeResidual


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(3, 1), (3, 3), (5, 2), (5, 5)]),
    basis=st.sampled_from("xz"),
    density=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    shots=st.integers(1, 5),
)
def test_equals_the_sparse_matrices(model, seed, size, basis, density, shots):
    m, rng = model(*size, basis), np.random.default_rng(seed)
    moves = (rng.random((shots, m.moves.num_moves)) < density).astype(np.uint8)
    packed = np.packbits(
        rng.integers(0, 2, (shots, m.layout.num_detectors), dtype=np.uint8), axis=1, bitorder="little"
    )
    before = packed.copy()
    got = NativeResidual(m.moves)(packed, moves)
    for array, expected in zip(got, SparseResidual(m.moves)(packed, moves), strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert np.array_equal(packed, before)


def test_rows_of_another_length_are_refused(model):
    m = model(3, 3)
    packed = np.zeros((1, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    with pytest.raises(ValueError, match="was expected"):
        NativeResidual(m.moves)(packed, np.zeros((1, m.moves.num_moves + 1), dtype=np.uint8))


def test_no_shots_are_no_rows(model):
    m = model(3, 3)
    width = -(-m.layout.num_detectors // 8)
    residual, flips = NativeResidual(m.moves)(
        np.zeros((0, width), dtype=np.uint8), np.zeros((0, m.moves.num_moves), dtype=np.uint8)
    )
    assert residual.shape == (0, width)
    assert flips.shape == (0, 1)
