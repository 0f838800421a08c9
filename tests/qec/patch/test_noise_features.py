"""Noise features against a count by hand."""

import math
from collections import defaultdict

import numpy as np
import pytest
import stim

from qec import NOISE_FEATURES, DecodingProblem, LocationVariation, memory_circuit, si1000


def _read(distance: int, rounds: int, basis: str = "x", **options) -> DecodingProblem:
    circuit = memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=si1000(0.004),
        **options,
    )
    return DecodingProblem.from_circuit(circuit)


def _log_odd(probabilities: list[float]) -> float:
    odd = 0.0
    for p in probabilities:
        odd = odd * (1 - p) + p * (1 - odd)
    return math.log(max(odd, 3e-4) / 6e-3)


@pytest.mark.parametrize(("basis", "reset"), [("x", True), ("z", True), ("x", False)])
def test_features_are_those_counted_by_hand(basis, reset):
    problem = _read(3, 3, basis, variation=LocationVariation(sigma=0.5, seed=1), reset=reset)
    dem, layout, moves = problem.dem, problem.layout, problem.moves
    together, alone = defaultdict(list), defaultdict(list)
    chain, several = defaultdict(list), defaultdict(list)
    ends = {frozenset(pair) - {-1} for pair in moves.ends.T.tolist()}
    for error in dem.flattened():
        if isinstance(error, stim.DemRepeatBlock) or error.type != "error":
            continue
        (p,) = error.args_copy()
        parts = [frozenset(t.val for t in g if t.is_relative_detector_id()) for g in error.target_groups()]
        for part in parts:
            together[part].append(p)
            if len(parts) == 1:
                alone[part].append(p)
            if part not in ends:
                for d in part:
                    chain[d].append(p)
        if len(parts) > 1:
            for d in frozenset().union(*parts):
                if sum(d in part for part in parts) % 2:
                    several[d].append(p)
    expected = np.zeros((NOISE_FEATURES, *layout.shape))
    for position, pair in zip(moves.positions, moves.ends.T.tolist(), strict=True):
        where = np.unravel_index(position, layout.move_mask.shape)
        expected[where] = _log_odd(together[frozenset(pair) - {-1}])
        expected[where[0] + 3, *where[1:]] = _log_odd(alone[frozenset(pair) - {-1}])
    for d, voxel in enumerate(layout.voxels):
        expected[6, *voxel], expected[7, *voxel] = _log_odd(chain[d]), _log_odd(several[d])
    features = problem.noise_features
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert all(features[kind].std() > 0.1 for kind in range(NOISE_FEATURES))


def test_the_bulk_has_equal_features_in_both_bases_and_all_orientations():
    cells = []
    for basis, orientation in (("x", "XV"), ("z", "XH"), ("x", "ZV"), ("z", "ZH")):
        cells.append(_read(9, 3, basis, orientation=orientation).noise_features[:, 2, 4:6, 4:6])
    for cell in cells[1:]:
        np.testing.assert_allclose(cell, cells[0], atol=1e-5)
