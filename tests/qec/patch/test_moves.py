"""Moves: every mechanism of every circuit decomposes into moves that reproduce it."""

import itertools

import numpy as np
import pytest
import stim

import qec
from qec.dem import gf2
from qec.patch import DecodingProblem, LayoutError


def _tables(circuit: stim.Circuit) -> tuple[qec.DemTables, qec.MoveSet]:
    problem = DecodingProblem.from_circuit(circuit)
    return problem.tables, problem.moves


def _assert_reproduced(circuit: stim.Circuit) -> None:
    tables, moves = _tables(circuit)
    chains = moves.of_mechanisms(tables)
    assert chains.shape[1] == tables.num_mechanisms > 0
    assert (gf2.product(moves.matrix, chains) != tables.detectors).nnz == 0
    assert (gf2.product(moves.observables, chains) != tables.observables).nnz == 0


@pytest.mark.parametrize("distance", [3, 5, 7])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_every_mechanism_maps_to_moves(distance, basis):
    """Four orientations, rounds 1, 2, d, 2d + 1: no exceptions."""
    for orientation, rounds in itertools.product(
        ("XV", "XH", "ZV", "ZH"), (1, 2, distance, 2 * distance + 1)
    ):
        _assert_reproduced(
            qec.memory_circuit(
                distance=distance,
                rounds=rounds,
                basis=basis,
                noise=qec.depolarizing(0.006),
                orientation=orientation,  # pyright: ignore[reportArgumentType]
            )
        )


@pytest.mark.parametrize("distance", [3, 4])
@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("perfect", [False, True])
def test_every_mechanism_without_reset_maps_to_moves(distance, basis, perfect):
    for orientation, rounds in itertools.product(("XV", "ZH"), (2, 3, 7)):
        _assert_reproduced(
            qec.memory_circuit(
                distance=distance,
                rounds=rounds,
                basis=basis,
                noise=qec.depolarizing(0.006),
                orientation=orientation,  # pyright: ignore[reportArgumentType]
                perfect_last_round=perfect,
                reset=False,
            )
        )


def test_without_reset_a_wrong_result_is_two_moves():
    """A flip of the ancilla's state in the round of the measurement, and one in the next round."""
    noise = qec.CircuitNoise(meas_x=0.01, meas_z=0.01)
    circuit = qec.memory_circuit(distance=3, rounds=6, noise=noise, reset=False)
    problem = DecodingProblem.from_circuit(circuit)
    tables, layout = problem.tables, problem.layout
    chains = problem.moves.of_mechanisms(tables)
    found = 0
    for k in range(tables.num_mechanisms):
        voxels = layout.voxels[tables.detectors[:, [k]].indices]
        if len({tuple(voxel[1:]) for voxel in voxels.tolist()}) == 1 and len(voxels) == 2:
            kind, t, i, j = np.unravel_index(
                problem.moves.positions[chains[:, [k]].indices], layout.move_mask.shape
            )
            rounds = {2: 2, 1: 1}[
                int(np.ptp(voxels[:, 0]))
            ]  # the last result is seen in two consecutive layers
            assert kind.tolist() == [2] * rounds
            assert t.tolist() == [voxels[:, 0].min() + n for n in range(rounds)]
            assert {*zip(i.tolist(), j.tolist(), strict=True)} == {tuple(voxels[0, 1:])}
            found += 1
    assert found == 4 * 6 + 4 * 3  # of MEMORY type every result, of OTHER type those seen twice


@pytest.mark.parametrize("distance", [3, 5, 7])
@pytest.mark.parametrize("basis", ["x", "z"])
def test_every_mechanism_of_stims_circuits_maps_to_moves(distance, basis):
    for rounds in (1, 2, distance, 2 * distance + 1):
        _assert_reproduced(qec.stim_memory_circuit(distance=distance, rounds=rounds, basis=basis, p=0.006))


@pytest.mark.parametrize("size", ["r05", "r11"])
@pytest.mark.parametrize("model", ["circuit_detector_error_model.dem", "pij_from_odd_for_even.dem"])
def test_every_mechanism_of_google_models_maps_to_moves(sycamore, size, model):
    dem = stim.DetectorErrorModel.from_file(str(sycamore / size / model))
    problem = DecodingProblem.from_dem(dem)
    tables, moves = problem.tables, problem.moves
    chains = moves.of_mechanisms(tables)
    assert (gf2.product(moves.matrix, chains) != tables.detectors).nnz == 0


def test_moves_are_elementary():
    """At most two detectors each, of one type, and no move is invisible."""
    _, moves = _tables(
        qec.memory_circuit(distance=5, rounds=4, basis="z", noise=qec.depolarizing(0.006), orientation="XV")
    )
    counts = np.diff(moves.matrix.indptr)
    assert counts.min() >= 1
    assert counts.max() == 2


def test_a_mechanism_that_moves_cannot_make_is_named():
    """A single mid-lattice detector whose chain to the edge flips the wrong observable."""
    circuit = qec.memory_circuit(
        distance=3, rounds=2, basis="x", noise=qec.depolarizing(0.006), orientation="XV"
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    moves = DecodingProblem.from_dem(dem).moves
    wrong = gf2.from_columns([[0]], rows=dem.num_detectors)
    chain = moves.of_detector_sets(wrong, gf2.product(moves.observables, _chain(moves, wrong)))
    assert chain.nnz >= 1
    flipped = gf2.from_columns([[0]] if not gf2.product(moves.observables, chain).nnz else [[]], rows=1)
    with pytest.raises(LayoutError, match="flip other observables"):
        moves.of_detector_sets(wrong, flipped)


def _chain(moves: qec.MoveSet, detectors):
    """The chain regardless of observables: whichever of the two answers is accepted."""
    for observable in ([[]], [[0]]):
        try:
            return moves.of_detector_sets(detectors, gf2.from_columns(observable, rows=1))
        except LayoutError:
            continue
    raise AssertionError("neither observable fits")
