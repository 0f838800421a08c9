"""Even, odd and rectangular patches in all orientations: layout, moves and observables against the DEM."""

import functools
import itertools

import numpy as np
import pytest
import stim

import qec
from qec import BASES, ORIENTATIONS, Basis, DecodingProblem, LayoutError, Orientation
from qec.circuits import RotatedPatch
from qec.patch import MEMORY

DISTANCES = [4, 5, 6, (3, 4), (4, 3), (3, 5), (5, 3), (4, 6), (6, 3)]


def _problem(
    distance: int | tuple[int, int], basis: Basis, orientation: Orientation, *, rounds: int = 4
) -> DecodingProblem:
    return DecodingProblem.from_circuit(
        qec.memory_circuit(
            distance=distance,
            rounds=rounds,
            basis=basis,
            orientation=orientation,
            noise=qec.depolarizing(0.006),
        )
    )


def _share_of_moves(problem: DecodingProblem) -> float:
    """How much of the components' probability is that of single moves, whose observables are checked."""
    tables, moves = problem.tables, problem.moves
    flips = moves.observables.toarray()
    of_ends = {frozenset(pair) - {-1}: flips[:, k] for k, pair in enumerate(moves.ends.T.tolist())}
    probability = tables.components @ tables.probabilities
    single = 0.0
    for k, p in enumerate(probability):
        ends = frozenset(tables.component_detectors[:, [k]].indices.tolist())
        if ends in of_ends:
            single += p
            assert np.array_equal(tables.component_observables[:, [k]].toarray()[:, 0], of_ends[ends])
    return single / probability.sum()


@functools.cache
def _share_of_an_odd_patch(basis: Basis) -> float:
    return _share_of_moves(_problem(7, basis, "XV"))


def _check(problem: DecodingProblem, *, weight: int) -> None:
    """`weight`: of the observable."""
    layout, moves = problem.layout, problem.moves
    parity = layout.voxels[:, 1:].sum(axis=1) % 2
    assert (parity[layout.voxels[:, 0] == 0] == MEMORY).all()
    assert layout.observable_masks.sum(axis=(2, 3)).tolist() == [[weight, 0]]
    first, second = moves.ends
    two = second >= 0
    step = np.abs(layout.voxels[first[two]] - layout.voxels[second[two]])
    assert set(map(tuple, step.tolist())) <= {(0, 1, 1), (1, 0, 0)}
    assert (parity[first[two]] == parity[second[two]]).all()
    moves.of_mechanisms(problem.tables)  # M y and L y are what the mechanisms flip


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_moves_are_those_of_the_patch(
    distance: int | tuple[int, int], basis: Basis, orientation: Orientation
) -> None:
    problem = _problem(distance, basis, orientation)
    patch = RotatedPatch(distance, orientation)
    _check(problem, weight=len(patch.logical(basis)))
    assert sorted((problem.layout.rows, problem.layout.columns)) == sorted(
        (patch.rows + 1, patch.columns + 1)
    )
    # Edges have more of them than the bulk, so a larger square patch has the least.
    assert _share_of_moves(problem) > _share_of_an_odd_patch(basis) - 0.005


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(("distance", "rounds"), [(4, 4), (6, 2), (6, 1), (4, 1)])
def test_stims_even_patches(basis: Basis, distance: int, rounds: int) -> None:
    circuit = qec.stim_memory_circuit(distance=distance, rounds=rounds, basis=basis, p=0.006)
    _check(DecodingProblem.from_circuit(circuit), weight=distance)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("distance", [(3, 5), (5, 3), (4, 6), (7, 4)])
def test_one_round_tells_a_patch_from_its_transpose(
    distance: tuple[int, int], basis: Basis, orientation: Orientation
) -> None:
    """With one round only one type has detectors, and they stand alike on patches of 3 x 5 and 5 x 3."""
    problem = _problem(distance, basis, orientation, rounds=1)
    weight, failing = distance if basis == "x" else distance[::-1]
    _check(problem, weight=weight)
    # The two-body stabilizers on the edge i = 0 are of MEMORY type, so flips that fail lie along a row.
    assert (problem.layout.rows, problem.layout.columns) == (weight + 1, failing + 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("basis", BASES)
def test_even_patches_are_the_same_as_odd_ones_in_the_bulk(basis: Basis, orientation: Orientation) -> None:
    cells = [
        _problem(distance, basis, orientation, rounds=5).noise_features[:, 2, 4:6, 4:6]
        for distance in (8, 9, (8, 9))
    ]
    for cell in cells[1:]:
        np.testing.assert_allclose(cell, cells[0], atol=1e-5)


@pytest.mark.parametrize("distance", [2, (2, 4), (2, 5), (5, 2)])
def test_patches_of_distance_2_have_circuits_and_no_layout(distance: int | tuple[int, int]) -> None:
    """Flips on both sides of such a patch flip the same detector and are not the same to the observable."""
    for basis, orientation in itertools.product(BASES, ORIENTATIONS):
        with pytest.raises(LayoutError, match="distance 3"):
            _problem(distance, basis, orientation)


def _without(dem: stim.DetectorErrorModel, dropped: set[int]) -> stim.DetectorErrorModel:
    """`dem` without some detectors and all errors that flip them."""
    kept = [d for d in range(dem.num_detectors) if d not in dropped]
    number = {d: stim.target_relative_detector_id(k) for k, d in enumerate(kept)}
    left = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemRepeatBlock):
            continue
        targets = instruction.targets_copy()
        named = [t for t in targets if isinstance(t, stim.DemTarget) and t.is_relative_detector_id()]
        if any(t.val in dropped for t in named):
            continue
        left.append(
            instruction.type,
            instruction.args_copy(),
            [number[t.val] if isinstance(t, stim.DemTarget) and t in named else t for t in targets],
        )
    return left


def test_a_first_layer_of_the_other_type_is_refused() -> None:
    """The first layer of the memory type cut off: what is then first could be of any experiment."""
    circuit = qec.memory_circuit(distance=4, rounds=4, basis="z", noise=qec.depolarizing(0.006))
    dem = circuit.detector_error_model(decompose_errors=True)
    layout = DecodingProblem.from_dem(dem).layout
    early = layout.voxels[:, 0] == 0
    memory = layout.voxels[:, 1:].sum(axis=1) % 2 == MEMORY
    second = layout.voxels[:, 0] == 1
    dropped = np.flatnonzero(early | (second & memory))
    with pytest.raises(LayoutError, match="is in the first layer, of stabilizers that do not see"):
        DecodingProblem.from_dem(_without(dem, set(dropped.tolist())))
