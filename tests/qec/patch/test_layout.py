"""DetectorLayout against what the circuits say of themselves."""

import numpy as np
import pytest
import stim

import qec
from qec.dem import gf2
from qec.patch import MEMORY, OTHER, DecodingProblem, DetectorLayout, LayoutError

ORIENTATIONS = ("XV", "XH", "ZV", "ZH")


def _circuit(
    distance: int, rounds: int, basis: str = "x", orientation: str = "XV", *, reset: bool = True
) -> stim.Circuit:
    return qec.memory_circuit(
        distance=distance,
        rounds=rounds,
        basis=basis,  # pyright: ignore[reportArgumentType]
        noise=qec.depolarizing(0.006),
        orientation=orientation,  # pyright: ignore[reportArgumentType]
        reset=reset,
    )


def _layout(circuit: stim.Circuit) -> DetectorLayout:
    return DecodingProblem.from_circuit(circuit).layout


def _layout_of(dem: stim.DetectorErrorModel) -> DetectorLayout:
    return DecodingProblem.from_dem(dem).layout


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize(("distance", "rounds"), [(3, 1), (3, 2), (5, 5), (5, 4)])
@pytest.mark.parametrize("reset", [True, False])
def test_every_memory_circuit_has_one_of_two_canonical_grids(distance, rounds, basis, orientation, reset):
    """Positions of detectors depend on size and mirroring alone; basis and orientation are undone."""
    layout = _layout(_circuit(distance, rounds, basis, orientation, reset=reset))
    reference = _layout(_circuit(distance, rounds, "xz"[layout.first_column]))
    assert layout.first_column == reference.first_column
    assert np.array_equal(layout.detector_grid >= 0, reference.detector_grid >= 0)
    assert np.array_equal(layout.move_mask, reference.move_mask)
    assert layout.layers == rounds + 1
    assert layout.rows == layout.columns == distance + 1


def _bulk(circuit: stim.Circuit) -> dict[frozenset[tuple[int, ...]], float]:
    """Mechanisms that begin in one unit cell in the middle, by the voxels they flip."""
    dem = circuit.detector_error_model(decompose_errors=True)
    voxels = _layout_of(dem).voxels
    found: dict[frozenset[tuple[int, ...]], float] = {}
    for instruction in dem.flattened():
        if isinstance(instruction, stim.DemRepeatBlock) or instruction.type != "error":
            continue
        targets = [t for t in instruction.targets_copy() if isinstance(t, stim.DemTarget)]
        flipped = voxels[[t.val for t in targets if t.is_relative_detector_id()]]
        low = flipped.min(axis=0)
        if low[0] == 3 and 4 <= low[1] <= 5 and 4 <= low[2] <= 5:
            found[frozenset(tuple(v) for v in flipped.tolist())] = instruction.args_copy()[0]
    return found


@pytest.mark.parametrize(
    ("basis", "orientation", "reset"),
    [*((b, o, True) for b in "xz" for o in ORIENTATIONS), ("x", "XH", False), ("z", "ZH", False)],
)
def test_all_circuits_are_the_same_in_the_bulk(basis, orientation, reset):
    """On the canonical grid the schedule points one way, so one network sees one model."""
    reference = _bulk(_circuit(9, 8, reset=reset))
    found = _bulk(_circuit(9, 8, basis, orientation, reset=reset))
    assert len(reference) > 50
    assert found.keys() == reference.keys()
    assert all(found[k] == pytest.approx(reference[k], rel=1e-9) for k in reference)


def test_stims_circuits_have_our_mechanisms_in_the_bulk():
    """Probabilities differ with the noise model; the mechanisms do not."""
    ours = _bulk(_circuit(9, 8))
    for basis in ("x", "z"):
        theirs = qec.stim_memory_circuit(distance=9, rounds=8, basis=basis, p=0.006)
        assert _bulk(theirs).keys() == ours.keys()


@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_observable_masks_are_the_circuits_logical_operator(basis, rounds):
    """d data flips of MEMORY kind in a straight line across the canonical grid, none of OTHER kind."""
    layout = _layout(_circuit(5, rounds, basis))
    mask = layout.observable_masks[0]
    assert not mask[OTHER].any()
    assert mask[MEMORY].sum() == 5
    # MEMORY chains run between the column edges, so the operator that catches them is a column.
    assert sorted(mask[MEMORY].sum(axis=0).tolist())[-2:] == [0, 5]


def test_stim_and_own_circuits_lie_on_one_grid():
    ours = _layout(_circuit(5, 5))
    stims = _layout(qec.stim_memory_circuit(distance=5, rounds=5, basis="x", p=0.01))
    assert np.array_equal(ours.detector_grid >= 0, stims.detector_grid >= 0)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 2.0])
def test_layout_does_not_depend_on_the_coordinate_system(angle):
    """Turned, scaled and shifted coordinates give the same grid up to the 180 degree symmetry."""
    dem = _circuit(3, 3).detector_error_model(decompose_errors=True)
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = stim.DetectorErrorModel()
    for instruction in dem.flattened():
        arguments = instruction.args_copy()  # pyright: ignore[reportAttributeAccessIssue]
        if instruction.type == "detector":
            x, y, t = arguments
            arguments = [*(turn @ [x, y] + [3.5, -8]).tolist(), 2 * t + 5]
        moved.append(instruction.type, arguments, instruction.targets_copy())  # pyright: ignore
    original, layout = _layout_of(dem), _layout_of(moved)
    turned = original.voxels.copy()
    turned[:, 1:] = [original.rows - 1, original.columns - 1] - turned[:, 1:]
    assert any(np.array_equal(layout.voxels, v) for v in (original.voxels, turned))


@pytest.mark.parametrize("size", ["r05", "r11"])
@pytest.mark.parametrize("model", ["circuit_detector_error_model.dem", "pij_from_even_for_odd.dem"])
def test_google_device_models_fit(sycamore, size, model):
    """The device's mixed-basis circuit has the grid of our own d = 3 memory of the same length."""
    layout = _layout_of(stim.DetectorErrorModel.from_file(str(sycamore / size / model)))
    ours = _layout(_circuit(3, int(size[1:])))
    assert np.array_equal(layout.detector_grid >= 0, ours.detector_grid >= 0)
    assert layout.observable_masks[0, MEMORY].sum() == 3


def _no_coordinates() -> stim.Circuit:
    circuit = _circuit(3, 3).flattened()
    plain = stim.Circuit()
    for instruction in circuit:
        assert isinstance(instruction, stim.CircuitInstruction)
        arguments = [] if instruction.name == "DETECTOR" else instruction.gate_args_copy()
        plain.append(instruction.name, instruction.targets_copy(), arguments)
    return plain


def _generated(task: str) -> stim.Circuit:
    return stim.Circuit.generated(task, distance=3, rounds=3, after_clifford_depolarization=0.01)


@pytest.mark.parametrize(
    ("circuit", "reason"),
    [
        (_no_coordinates, r"D0 has coordinates \[\], expected \(x, y, t\)"),
        (lambda: _generated("color_code:memory_xyz"), "off the square lattice"),
        (lambda: _generated("repetition_code:memory"), r"expected \(x, y, t\)"),
        (lambda: _generated("surface_code:unrotated_memory_z"), "not the 8 of a 3 x 3 rotated"),
        (lambda: stim.Circuit("X_ERROR(0.1) 0\nM 0"), "no detectors"),
    ],
)
def test_what_is_not_a_rotated_surface_code_is_refused_with_a_reason(circuit, reason):
    with pytest.raises(LayoutError, match=reason):
        _layout_of(circuit().detector_error_model())


def test_a_contradictory_observable_is_refused():
    """One data site alone flips the observable: the stabilizers around it would flip it too."""
    dem = _circuit(3, 3).detector_error_model(decompose_errors=True)
    problem = DecodingProblem.from_dem(dem)
    layout, moves = problem.layout, problem.moves
    broken = stim.DetectorErrorModel()
    for column, position in enumerate(moves.positions):
        kind, _, i, j = np.unravel_index(position, layout.move_mask.shape)
        targets = [stim.target_relative_detector_id(d) for d in moves.matrix[:, [column]].nonzero()[0]]
        if (kind, i, j) == (MEMORY, 1, 1):
            targets.append(stim.target_logical_observable_id(0))
        broken.append("error", 0.01, list(targets))
    for instruction in dem.flattened():
        if instruction.type == "detector":
            broken.append(instruction)
    with pytest.raises(LayoutError, match="odd number of times"):
        _layout_of(broken)


@pytest.mark.parametrize("basis", ["x", "z"])
def test_no_move_touches_a_detector_that_nothing_flips(basis):
    """After a last round without noise, nothing could explain an event there."""
    circuit = qec.memory_circuit(
        distance=3, rounds=4, basis=basis, noise=qec.depolarizing(0.01), perfect_last_round=True
    )
    dem = circuit.detector_error_model(decompose_errors=True)
    problem = DecodingProblem.from_dem(dem)
    layout, moves = problem.layout, problem.moves
    assert np.array_equal(layout.deterministic, layout.voxels[:, 0] == 4)
    touched = np.asarray(moves.matrix.sum(axis=1)).ravel() > 0
    assert np.array_equal(touched, ~layout.deterministic)
    # What is left can still explain every mechanism.
    moves.of_mechanisms(problem.tables)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("basis", ["x", "z"])
@pytest.mark.parametrize(("distance", "rounds"), [((3, 3), 3), ((5, 5), 4), ((4, 4), 5), ((3, 5), 3)])
def test_backwards_the_grid_is_the_same_and_turned_by_half_a_turn(distance, rounds, basis, orientation):
    """Detector by detector: (t, i, j) from the other end of all axes; moves and mechanisms fit again."""
    circuit = qec.memory_circuit(
        distance=distance, rounds=rounds, basis=basis, noise=qec.depolarizing(0.006), orientation=orientation
    )
    problem = DecodingProblem.from_circuit(circuit)
    turned = DecodingProblem.from_normal_form(problem.normal, backwards=True)
    there, back = problem.layout, turned.layout
    assert (there.layers, there.rows, there.columns) == (back.layers, back.rows, back.columns)
    low = np.array([0, 0, there.first_column]), np.array([0, 0, back.first_column])
    size = np.array([there.layers, there.rows, there.columns])
    assert np.array_equal(back.voxels - low[1], size - 1 - (there.voxels - low[0]))
    moves = turned.moves
    chains = moves.of_mechanisms(problem.tables)
    assert (gf2.product(moves.matrix, chains) != problem.tables.detectors).nnz == 0
    assert (gf2.product(moves.observables, chains) != problem.tables.observables).nnz == 0
