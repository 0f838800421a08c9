"""What a network is told of the noise, against a count by hand, and on streams."""

import math
from collections import defaultdict

import numpy as np
import pytest
import stim
import torch

from global_decoders.windows import LayeredDem
from predecoder.rates import RATE_KINDS, StreamRates, move_rates
from predecoder.stream_layers import StreamLayers
from qec import LocationVariation, memory_circuit, si1000
from qec.patch.layout import DetectorLayout
from qec.patch.moves import MoveSet


def _read(distance: int, rounds: int, basis: str = "x", **options):
    circuit = memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=si1000(0.004),
        **options,
    )
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    layout = DetectorLayout.from_dem(dem)
    return dem, layout, MoveSet.from_layout(layout)


def _told(probabilities: list[float]) -> float:
    odd = 0.0
    for p in probabilities:
        odd = odd * (1 - p) + p * (1 - odd)
    return math.log(max(odd, 3e-4) / 6e-3)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_rates_are_those_counted_by_hand(basis):
    dem, layout, moves = _read(3, 3, basis, variation=LocationVariation(sigma=0.5, seed=1))
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
    expected = np.zeros((RATE_KINDS, *layout.shape))
    for position, pair in zip(moves.positions, moves.ends.T.tolist(), strict=True):
        where = np.unravel_index(position, layout.move_mask.shape)
        expected[where] = _told(together[frozenset(pair) - {-1}])
        expected[where[0] + 3, *where[1:]] = _told(alone[frozenset(pair) - {-1}])
    for d, voxel in enumerate(layout.voxels):
        expected[6, *voxel], expected[7, *voxel] = _told(chain[d]), _told(several[d])
    rates = move_rates(layout, moves)
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, expected, atol=1e-5)
    assert all(rates[kind].std() > 0.1 for kind in range(RATE_KINDS))


def test_the_bulk_is_told_alike_in_both_bases_and_all_orientations():
    cells = []
    for basis, orientation in (("x", "XV"), ("z", "XH"), ("x", "ZV"), ("z", "ZH")):
        _, layout, moves = _read(9, 3, basis, orientation=orientation)
        cells.append(move_rates(layout, moves)[:, 2, 4:6, 4:6])
    for cell in cells[1:]:
        np.testing.assert_allclose(cell, cells[0], atol=1e-5)


@pytest.mark.parametrize("perfect", [False, True])
@pytest.mark.parametrize("rounds", [5, 6, 20])
def test_a_stream_of_any_length_is_told_what_its_own_dem_says(perfect, rounds):
    dem, layout, _ = _read(3, 8, perfect_last_round=perfect)
    stream = StreamRates(layout, StreamLayers(layout, LayeredDem.from_dem(dem)))
    _, longer, moves = _read(3, rounds, perfect_last_round=perfect)
    whole = move_rates(longer, moves)
    got = np.concatenate([stream.of(t, t + 1, num_layers=rounds + 1) for t in range(whole.shape[1])], axis=1)
    assert np.array_equal(got, whole)
    assert np.array_equal(stream.of(0, 3, num_layers=None), whole[:, :3])


def test_layers_of_another_experiment_are_refused():
    dem, _, _ = _read(3, 8)
    _, layout, _ = _read(3, 5)
    with pytest.raises(ValueError, match="a DEM of 9 layers but the layout has 6"):
        StreamLayers(layout, LayeredDem.from_dem(dem))


def test_a_network_is_told_what_it_has_to_know_and_nothing_else(random_network):
    inputs, rates = torch.zeros(1, 16, 2, 2, 2), torch.zeros(1, 8 * RATE_KINDS, 2, 2, 2)
    with pytest.raises(ValueError, match="rates=True was run without its rates"):
        random_network(rates=True)(inputs)
    with pytest.raises(ValueError, match="rates=False was run with rates"):
        random_network()(inputs, rates)
