"""The invariant: residual plus flips describe the same shot, whatever the network says."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predecoder.stencils import ResidualStencil, StencilOnRows

_SIZES = st.sampled_from([(3, 1), (3, 2), (3, 3), (3, 4), (5, 3), (5, 6)])


@given(
    seed=st.integers(0, 2**32 - 1),
    size=_SIZES,
    basis=st.sampled_from(["x", "z"]),
    orientation=st.sampled_from(["XV", "XH", "ZV", "ZH"]),
    density=st.sampled_from([0.01, 0.5, 1.0]),
)
def test_stencils_equal_the_sparse_matrices(model, seed, size, basis, orientation, density):
    """M y and L y for arbitrary moves, those that do not exist included (they count for nothing)."""
    m = model(*size, basis, orientation)
    rng = np.random.default_rng(seed)
    moves = (rng.random((2, 3, *m.layout.shape)) < density).astype(np.uint8)
    y = moves.reshape(2, -1)[:, m.moves.positions]
    stencil = ResidualStencil(m.layout)
    assert np.array_equal(stencil.flipped_detectors(moves), (m.moves.matrix.astype(int) @ y.T).T % 2)
    assert np.array_equal(stencil.flipped_observables(moves), (m.moves.observables.astype(int) @ y.T).T % 2)


@given(seed=st.integers(0, 2**32 - 1), size=_SIZES)
def test_applying_twice_is_the_identity(model, seed, size):
    m = model(*size)
    rng = np.random.default_rng(seed)
    packed = np.packbits(rng.integers(0, 2, (3, m.layout.num_detectors)), axis=1, bitorder="little")
    moves = rng.integers(0, 2, (3, 3, *m.layout.shape), dtype=np.uint8)
    stencil = ResidualStencil(m.layout)
    residual, flips = stencil(packed, moves)
    again, flips_again = stencil(residual, moves)
    assert np.array_equal(again, packed)
    assert np.array_equal(flips, flips_again)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_moves_around_a_stabilizer_do_nothing(model, basis):
    """Data flips on all neighbours of an ancilla of the other type are a stabilizer."""
    layout = model(5, 4, basis).layout
    stencil = ResidualStencil(layout)
    for kind in (0, 1):
        for i, j in np.argwhere((layout.detector_grid >= 0).any(axis=0)):
            if (i + j) % 2 == kind:
                continue
            moves = np.zeros((1, 3, *layout.shape), dtype=np.uint8)
            moves[0, kind, 2, max(i - 1, 0) : i + 1, max(j - 1, 0) : j + 1] = 1
            assert not stencil.flipped_detectors(moves).any()
            assert not stencil.flipped_observables(moves).any()


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("observables", [0, 1])
def test_no_shots_and_no_observables_are_empty_rows(model, shots, observables):
    m = model()
    layout = dataclasses.replace(m.layout, observable_masks=m.layout.observable_masks[:observables])
    packed = np.zeros((shots, -(-layout.num_detectors // 8)), dtype=np.uint8)
    moves = np.ones((shots, m.moves.num_moves), dtype=np.uint8)
    residual, flips = StencilOnRows(layout, m.moves)(packed, moves)
    assert residual.shape == packed.shape
    assert flips.shape == (shots, observables)
