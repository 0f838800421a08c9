"""The invariant: residual plus flips describe the same shot, whatever the network says."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from predecoder.correction.residual import Residual
from qec import DetectorLayout, MoveSet

_SIZES = st.sampled_from([(3, 1), (3, 2), (3, 3), (3, 4), (5, 3), (5, 6)])


def _by_grid(layout: DetectorLayout, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detectors and observables that moves uint8 0/1 (B, 3, T, I, J) flip, by shifted copies of the grid."""
    moves = moves & layout.move_mask
    parity = np.indices(layout.shape[1:]).sum(axis=0) % 2
    grid = np.zeros((len(moves), *layout.shape), dtype=np.uint8)
    for kind in (0, 1):
        data = moves[:, kind]
        seen = data.copy()
        seen[:, :, 1:] ^= data[:, :, :-1]
        seen[:, :, :, 1:] ^= data[:, :, :, :-1]
        seen[:, :, 1:, 1:] ^= data[:, :, :-1, :-1]
        grid ^= seen & (parity == kind)
    grid ^= moves[:, 2]
    grid[:, 1:] ^= moves[:, 2, :-1]
    on_sites = np.bitwise_xor.reduce(moves[:, :2], axis=2)[:, None] & layout.observable_masks
    flips = np.bitwise_xor.reduce(on_sites.astype(np.uint8), axis=(2, 3, 4))
    return grid.reshape(len(moves), -1)[:, layout.flat_voxels], flips


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")


@given(
    seed=st.integers(0, 2**32 - 1),
    size=_SIZES,
    basis=st.sampled_from(["x", "z"]),
    orientation=st.sampled_from(["XV", "XH", "ZV", "ZH"]),
    density=st.sampled_from([0.01, 0.5, 1.0]),
)
def test_it_is_what_shifted_grids_give(model, seed, size, basis, orientation, density):
    """Moves that do not exist are none: there is no place for them among those of `MoveSet`."""
    m = model(*size, basis, orientation)
    rng = np.random.default_rng(seed)
    grid = (rng.random((2, 3, *m.layout.shape)) < density).astype(np.uint8)
    shots = rng.integers(0, 2, (2, m.layout.num_detectors), dtype=np.uint8)
    change, flipped = _by_grid(m.layout, grid)
    moves = grid.reshape(2, -1)[:, m.moves.positions]
    residual, flips = Residual(m.moves)(_packed(shots), moves)
    assert np.array_equal(residual, _packed(shots ^ change))
    assert np.array_equal(flips, _packed(flipped))


def _by_matrices(moves: MoveSet, packed: np.ndarray, set_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual and flips by the sparse matrices of a `MoveSet`."""
    moves_BM = sp.csr_matrix(set_BM, dtype=np.int32)
    change, flips = (
        _packed((moves_BM @ sp.csr_matrix(matrix.T, dtype=np.int32)).toarray() & 1)
        for matrix in (moves.matrix, moves.observables)
    )
    return packed ^ change, flips


@given(
    seed=st.integers(0, 2**32 - 1),
    size=_SIZES,
    basis=st.sampled_from("xz"),
    density=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    shots=st.integers(1, 5),
)
def test_equals_the_sparse_matrices(model, seed, size, basis, density, shots):
    m, rng = model(*size, basis), np.random.default_rng(seed)
    moves = (rng.random((shots, m.moves.num_moves)) < density).astype(np.uint8)
    packed = _packed(rng.integers(0, 2, (shots, m.layout.num_detectors)))
    before = packed.copy()
    got = Residual(m.moves)(packed, moves)
    for array, expected in zip(got, _by_matrices(m.moves, packed, moves), strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    assert np.array_equal(packed, before)


def test_rows_of_another_length_are_refused(model):
    m = model(3, 3)
    packed = np.zeros((1, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"moves: got an array of uint8 \(1, \d+\), but uint8 \(\*, \d+\)"):
        Residual(m.moves)(packed, np.zeros((1, m.moves.num_moves + 1), dtype=np.uint8))
    with pytest.raises(ValueError, match="packed: got an array"):
        Residual(m.moves)(packed, np.zeros((2, m.moves.num_moves), dtype=np.uint8))


@given(seed=st.integers(0, 2**32 - 1), size=_SIZES)
def test_applying_twice_is_the_identity(model, seed, size):
    m = model(*size)
    rng = np.random.default_rng(seed)
    packed = _packed(rng.integers(0, 2, (3, m.layout.num_detectors)))
    moves = rng.integers(0, 2, (3, m.moves.num_moves), dtype=np.uint8)
    apply = Residual(m.moves)
    residual, flips = apply(packed, moves)
    again, flips_again = apply(residual, moves)
    assert np.array_equal(again, packed)
    assert np.array_equal(flips, flips_again)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_moves_around_a_stabilizer_do_nothing(model, basis):
    """Data flips on all neighbours of an ancilla of the other type are a stabilizer."""
    m = model(5, 4, basis)
    apply = Residual(m.moves)
    nothing = np.zeros((1, -(-m.layout.num_detectors // 8)), dtype=np.uint8)
    for kind in (0, 1):
        for i, j in np.argwhere((m.layout.detector_grid >= 0).any(axis=0)):
            if (i + j) % 2 == kind:
                continue
            grid = np.zeros(m.layout.move_mask.shape, dtype=np.uint8)
            grid[kind, 2, max(i - 1, 0) : i + 1, max(j - 1, 0) : j + 1] = 1
            residual, flips = apply(nothing, grid.reshape(1, -1)[:, m.moves.positions])
            assert not residual.any()
            assert not flips.any()


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("observables", [0, 1])
def test_no_shots_and_no_observables_are_empty_rows(model, shots, observables):
    moves = model().moves
    moves = dataclasses.replace(moves, observables=sp.csc_matrix(moves.observables[:observables]))
    packed = np.zeros((shots, -(-moves.matrix.shape[0] // 8)), dtype=np.uint8)
    set_all = np.ones((shots, moves.num_moves), dtype=np.uint8)
    residual, flips = Residual(moves)(packed, set_all)
    assert residual.shape == packed.shape
    assert flips.shape == (shots, observables)
