"""Coordinates as other projects write them: annotations, shared times, times apart, any SHIFT_COORDS."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import stim

import qec
from qec import BASES, Basis, DecodingProblem, DetectorLayout, LayoutError

Rewrite = Callable[[int, list[float]], Sequence[float]]


def _dem(basis: Basis = "z", *, rounds: int = 4) -> stim.DetectorErrorModel:
    circuit = qec.memory_circuit(
        distance=3, rounds=rounds, basis=basis, noise=qec.depolarizing(0.006), orientation="XH"
    )
    return circuit.detector_error_model(decompose_errors=True).flattened()


def _rewritten(dem: stim.DetectorErrorModel, rewrite: Rewrite) -> stim.DetectorErrorModel:
    """`dem` with `rewrite(detector, coordinates)` in place of the coordinates."""
    coordinates = dem.get_detector_coordinates()
    result = stim.DetectorErrorModel()
    for instruction in dem:
        assert not isinstance(instruction, stim.DemRepeatBlock)
        if instruction.type == "error":
            result.append(instruction)
    for detector, where in coordinates.items():
        result.append("detector", rewrite(detector, where), [stim.target_relative_detector_id(detector)])
    return result


def _layout(dem: stim.DetectorErrorModel) -> DetectorLayout:
    return DecodingProblem.from_dem(dem).layout


def _other_type(dem: stim.DetectorErrorModel) -> set[tuple[float, float]]:
    """Places of the type that the first layer has not."""
    coordinates = dem.get_detector_coordinates().values()
    return {(x, y) for x, y, _ in coordinates} - {(x, y) for x, y, t in coordinates if t == 0}


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda d, c: [*c, d % 3], id="a colour"),
        pytest.param(lambda d, c: [*c, (c[0] + c[1]) % 4, -c[2], d], id="three annotations"),
        pytest.param(lambda d, c: [c[0], c[1], min(c[2], 3)], id="the last layer has the last round's time"),
        pytest.param(lambda d, c: [c[0], c[1], c[2] // 2], id="two layers share a time"),
        pytest.param(lambda d, c: [c[0], c[1], 7], id="all layers share a time"),
        pytest.param(lambda d, c: [c[0], c[1], c[2] ** 1.5], id="times are not equally spaced"),
    ],
)
def test_layers_are_those_of_plain_coordinates(basis: Basis, rewrite: Rewrite) -> None:
    dem = _dem(basis)
    expected, found = _layout(dem), _layout(_rewritten(dem, rewrite))
    assert np.array_equal(found.voxels, expected.voxels)
    assert np.array_equal(found.move_mask, expected.move_mask)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("shift", [-0.75, -0.5, 0.25, 0.5])
def test_types_measured_at_other_times_of_a_round_share_layers(basis: Basis, shift: float) -> None:
    dem = _dem(basis)
    other = _other_type(dem)
    moved = _rewritten(dem, lambda _, c: [c[0], c[1], c[2] + shift * ((c[0], c[1]) in other)])
    assert np.array_equal(_layout(moved).voxels, _layout(dem).voxels)


@pytest.mark.parametrize("shift", ["0, 0, 1, 5", "0, 0, 1, 5, -2", "0, 0, 1"])
@pytest.mark.parametrize("annotations", ["", ", 2", ", 2, 3"])
def test_shifts_of_any_length(shift: str, annotations: str) -> None:
    """Stim's circuit with shifts longer or shorter than its detectors' coordinates."""
    circuit = qec.stim_memory_circuit(distance=3, rounds=5, p=0.01)
    text = str(circuit).replace("SHIFT_COORDS(0, 0, 1)", f"SHIFT_COORDS({shift})")
    lines = [
        line.replace(")", f"{annotations})", 1) if "DETECTOR" in line else line for line in text.split("\n")
    ]
    layout = DecodingProblem.from_circuit(stim.Circuit("\n".join(lines))).layout
    assert np.array_equal(layout.voxels, DecodingProblem.from_circuit(circuit).layout.voxels)


@pytest.mark.parametrize(
    ("rewrite", "found"),
    [(lambda d, c: c[:2], r"D0 has coordinates \[0.0, 2.0\]"), (lambda d, c: [], r"D0 has coordinates \[\]")],
)
def test_space_alone_or_nothing_is_refused(rewrite: Rewrite, found: str) -> None:
    with pytest.raises(LayoutError, match=found + r", expected \(x, y, t\) or more; add DETECTOR"):
        _layout(_rewritten(_dem(), rewrite))


def test_nan_in_an_annotation_is_nothing_to_us_but_in_time_it_is_refused() -> None:
    dem = _dem()
    assert len(_layout(_rewritten(dem, lambda _, c: [*c, float("inf")])).voxels) == dem.num_detectors
    with pytest.raises(LayoutError, match="inf"):
        _layout(_rewritten(dem, lambda _, c: [c[0], c[1], float("inf")]))


def test_places_with_a_layer_left_out_are_refused() -> None:
    """One detector moved far away in time leaves a hole, which no move could bridge."""
    dem = _dem(rounds=6)
    late = {d: c for d, c in dem.get_detector_coordinates().items() if c[2] == 3}
    hole = min(late)
    renamed = _rewritten(dem, lambda d, c: [*c[:2], 9] if d == hole else c)
    with pytest.raises(LayoutError, match="not consecutive layers"):
        _layout(renamed)


def test_times_and_ranks_that_fit_neither_way_are_refused() -> None:
    dem = _dem()
    uneven = _rewritten(dem, lambda d, c: [*c[:2], c[2] + (0.3 if d == 0 else 0) - (7 if d == 9 else 0)])
    with pytest.raises(LayoutError, match="not a whole number of layers"):
        _layout(uneven)
