"""Packed, streamed moments against plain averages and exact enumeration."""

from itertools import combinations, product

import numpy as np
import pytest
import stim
from hypothesis import given
from hypothesis import strategies as st

from noise_learning import Moments, Structure, Subsets

SETS = [(0, 1, 2), (2, 9), (5,), (3, 8, 10, 11)]


def packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits, axis=1, bitorder="little")


def random_bits(shots: int, detectors: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size=(shots, detectors), dtype=np.uint8)


@given(
    detectors=st.integers(12, 70), shots=st.integers(1, 200), cut=st.integers(0, 200), seed=st.integers(0, 99)
)
def test_moments_are_averages_of_signs_and_add_over_chunks(detectors, shots, cut, seed):
    bits = random_bits(shots, detectors, seed)
    subsets = Subsets.of_sets(SETS, num_detectors=detectors)
    whole = Moments.from_shots(subsets, packed(bits))
    signs = 1.0 - 2.0 * bits
    expected = [signs[:, list(subsets.detectors(k))].prod(axis=1).mean() for k in range(len(subsets))]
    np.testing.assert_allclose(whole.means, expected, atol=1e-12)

    parts = Moments.from_shots(subsets, packed(bits[:cut])) + Moments.from_shots(subsets, packed(bits[cut:]))
    streamed = Moments.from_shots(subsets, iter([packed(bits[:cut]), packed(bits[cut:])]))
    for other in (parts, streamed):
        np.testing.assert_array_equal(other.odd, whole.odd)
        assert other.weight == other.weight_squares == shots


def test_subsets_are_all_nonempty_subsets_once():
    subsets = Subsets.of_sets([(0, 1, 2), (1, 2)], num_detectors=4)
    found = [subsets.detectors(k) for k in range(len(subsets))]
    assert found == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def test_long_chunks_count_every_shot():
    bits = random_bits(70_001, 3, 1)
    subsets = Subsets.of_sets([(0, 2)], num_detectors=3)
    assert Moments.from_shots(subsets, packed(bits)).odd[2] == (bits[:, 0] ^ bits[:, 2]).sum()


def test_means_converge_to_enumeration():
    dem = stim.DetectorErrorModel("error(0.1) D0 D1\nerror(0.2) D1 D2\nerror(0.05) D0 D1 D2\nerror(0.3) D2")
    structure = Structure.from_dem(dem)
    rates, sets = [0.1, 0.2, 0.05, 0.3], [{0, 1}, {1, 2}, {0, 1, 2}, {2}]
    shots, _, _ = dem.compile_sampler(seed=3).sample(400_000, bit_packed=True)
    moments = Moments.from_shots(structure.subsets, shots)
    for size in (1, 2, 3):
        for subset in combinations(range(3), size):
            exact = 0.0
            for fired in product((0, 1), repeat=4):
                weight = np.prod([p if f else 1 - p for p, f in zip(rates, fired, strict=True)])
                flips = sum(f * len(s & set(subset)) for f, s in zip(fired, sets, strict=True))
                exact += weight * (-1) ** flips
            row = structure.subsets.index[subset]
            assert abs(moments.means[row] - exact) < 5 / np.sqrt(400_000)


def test_weights_give_the_effective_number_of_shots():
    subsets = Subsets.of_sets([(0,)], num_detectors=1)
    shots = packed(random_bits(100, 1, 2))
    old, new = Moments.from_shots(subsets, shots), Moments.from_shots(subsets, shots)
    average = old.scaled(0.5) + new
    assert average.weight == 150
    assert average.effective_shots == pytest.approx(150**2 / 125)
    np.testing.assert_allclose(average.means, new.means)


def test_what_does_not_fit_is_refused():
    subsets = Subsets.of_sets([(0, 9)], num_detectors=10)
    with pytest.raises(ValueError, match=r"uint8 of shape \(shots, 2\)"):
        Moments.from_shots(subsets, np.zeros((4, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="do not add"):
        _ = Moments.zero(subsets) + Moments.zero(Subsets.of_sets([(0,)], num_detectors=10))
    with pytest.raises(ValueError, match="at least one"):
        _ = Moments.zero(subsets).means
    with pytest.raises(ValueError, match="factor=-1"):
        Moments.zero(subsets).scaled(-1)
    with pytest.raises(ValueError, match="9 detectors"):
        Subsets.of_sets([tuple(range(9))], num_detectors=9)
