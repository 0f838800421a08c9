"""Geometry and CNOT schedule of the rotated surface code."""

from collections import defaultdict

import pytest

from qec.circuits.rotated_patch import BASES, ORIENTATIONS, Orientation, RotatedPatch


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_is_what_the_docstring_says(orientation: Orientation) -> None:
    patch = RotatedPatch(5, orientation)
    first, boundary = orientation
    other = {"X": "z", "Z": "x"}[first]
    assert (2, 2) in (patch.x_ancillas if first == "X" else patch.z_ancillas)
    assert ((2, 0) if boundary == "V" else (0, 2)) in (patch.z_ancillas if other == "z" else patch.x_ancillas)
    x_is_horizontal = orientation in ("XV", "ZH")
    assert {y for _, y in patch.logical("x")} == ({1} if x_is_horizontal else {1, 3, 5, 7, 9})
    assert {x for x, _ in patch.logical("z")} == ({1} if x_is_horizontal else {1, 3, 5, 7, 9})


@pytest.mark.parametrize(
    ("orientation", "distance"),
    [(o, d) for o in ORIENTATIONS for d in (2, 3, 4, 5, 6, 7, (2, 5), (3, 4), (4, 3), (6, 3), (3, 7))],
)
def test_code_is_a_surface_code(orientation: Orientation, distance: int | tuple[int, int]) -> None:
    patch = RotatedPatch(distance, orientation)
    supports = {b: [set(patch.support(a)) for a in patch.ancillas(b)] for b in BASES}
    d_x, d_z = distance if isinstance(distance, tuple) else (distance, distance)
    assert len(supports["x"]) + len(supports["z"]) == d_x * d_z - 1
    assert all(len(s) in (2, 4) for basis in BASES for s in supports[basis])
    if d_x == d_z and d_x % 2 == 1:
        assert len(supports["x"]) == len(supports["z"])
    assert all(len(x & z) % 2 == 0 for x in supports["x"] for z in supports["z"])
    logical = {b: set(patch.logical(b)) for b in BASES}
    assert len(logical["x"] & logical["z"]) == 1
    assert (len(logical["x"]), len(logical["z"])) == (d_x, d_z)
    assert all(len(logical["x"] & z) % 2 == 0 for z in supports["z"])
    assert all(len(logical["z"] & x) % 2 == 0 for x in supports["x"])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_layer_uses_a_qubit_once_and_all_layers_the_whole_support(orientation: Orientation) -> None:
    patch = RotatedPatch(5, orientation)
    touched: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for k, layer in enumerate(patch.cnot_layers):
        busy = [q for pair in layer for q in pair]
        assert len(busy) == len(set(busy))
        assert set(busy) | set(patch.idle_in_layer(k)) == set(patch.index)
        for control, target in layer:
            ancilla, data = (control, target) if control in patch.x_ancillas else (target, control)
            touched[ancilla].add(data)
    assert touched == {a: set(patch.support(a)) for b in BASES for a in patch.ancillas(b)}
