"""Geometry and CNOT schedule of the rotated surface code.

Data qubits sit at odd-odd points of an integer lattice and ancillas at even-even points, as in Stim's
generated circuits; x grows to the right and y grows downwards.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Orientation = Literal["XV", "XH", "ZV", "ZH"]
Basis = Literal["x", "z"]
Point = tuple[int, int]
Distance = int | tuple[int, int]

ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
BASES: tuple[Basis, ...] = get_args(Basis)

_NE, _NW, _SE, _SW = (1, -1), (-1, -1), (1, 1), (-1, 1)
# A fault of the ancilla after its second CNOT reaches the last two data qubits ("hook error"). The pair has
# to lie across the logical operator of the ancilla's own type, or d/2 hooks would make a logical error.
# Both orders start at NE and end at SW and differ in the middle two, so no data qubit is asked for twice in
# one layer.
_LAST_PAIR_HORIZONTAL = (_NE, _NW, _SE, _SW)
_LAST_PAIR_VERTICAL = (_NE, _SE, _NW, _SW)


@dataclass(frozen=True)
class RotatedPatch:
    """A rotated surface code in one of four orientations.

    The first letter of `orientation` is the type of the upper-left bulk ancilla, at (2, 2). The second says
    where the first boundary ancilla sits: 'V', vertically above it at (2, 0), or 'H', horizontally left of
    it at (0, 2); that ancilla is of the other type.

        XV: X at (2, 2), Z at (2, 0); top and bottom boundaries Z: logical X horizontal, logical Z vertical
        XH: X at (2, 2), Z at (0, 2); top and bottom boundaries X: logical X vertical, logical Z horizontal
        ZV: Z at (2, 2), X at (2, 0); top and bottom boundaries X: logical X vertical, logical Z horizontal
        ZH: Z at (2, 2), X at (0, 2); top and bottom boundaries Z: logical X horizontal, logical Z vertical

    Stim's generated rotated_memory circuits have the geometry of 'ZV'.

    Qubits are numbered: data row by row (`data`), then X ancillas row by row, then Z ancillas row by row.

    Attributes:
        distance: of a square patch, even or odd; or a pair (d_x, d_z), the weights of logical X and Z.
        orientation: see above.

    Raises:
        ValueError: a distance below 2, or an unknown orientation.
    """

    distance: Distance
    orientation: Orientation = "XV"

    def __post_init__(self) -> None:
        distances = self.distance if isinstance(self.distance, tuple) else (self.distance,)
        if len(distances) not in (1, 2) or not all(isinstance(d, int) and d >= 2 for d in distances):
            raise ValueError(
                f"distance={self.distance!r} is not a number >= 2 or a pair of them; use 3, 5, ... or (3, 5)"
            )
        if self.orientation not in ORIENTATIONS:
            raise ValueError(f"orientation={self.orientation!r} is unknown; use {', '.join(ORIENTATIONS)}")

    @property
    def columns(self) -> int:
        """Data qubits in a row."""
        return self._distance("z" if self._logical_is_vertical("x") else "x")

    @property
    def rows(self) -> int:
        """Data qubits in a column."""
        return self._distance("x" if self._logical_is_vertical("x") else "z")

    @cached_property
    def data(self) -> tuple[Point, ...]:
        """Coordinates of the data qubits; the index of a qubit is its position here."""
        return tuple((2 * i + 1, 2 * j + 1) for j in range(self.rows) for i in range(self.columns))

    @cached_property
    def x_ancillas(self) -> tuple[Point, ...]:
        """Coordinates of the ancillas of X stabilizers."""
        return self._ancillas("x")

    @cached_property
    def z_ancillas(self) -> tuple[Point, ...]:
        """Coordinates of the ancillas of Z stabilizers; with those of X one fewer than data qubits."""
        return self._ancillas("z")

    def ancillas(self, basis: Basis) -> tuple[Point, ...]:
        return self.x_ancillas if basis == "x" else self.z_ancillas

    @cached_property
    def index(self) -> dict[Point, int]:
        """Qubit number of every coordinate."""
        return {q: k for k, q in enumerate((*self.data, *self.x_ancillas, *self.z_ancillas))}

    def logical(self, basis: Basis) -> tuple[Point, ...]:
        """Data qubits of the logical X or Z operator: the top row or the left column."""
        axis = 0 if self._logical_is_vertical(basis) else 1
        return tuple(q for q in self.data if q[axis] == 1)

    def support(self, ancilla: Point) -> tuple[Point, ...]:
        """The two or four data qubits of the ancilla's stabilizer."""
        around = ((ancilla[0] + dx, ancilla[1] + dy) for dx, dy in (_NW, _NE, _SW, _SE))
        return tuple(q for q in around if q in self._data_set)

    @cached_property
    def cnot_layers(self) -> tuple[tuple[tuple[Point, Point], ...], ...]:
        """Four layers of (control, target) pairs: X ancillas control their data, data control Z ancillas."""
        layers = []
        for k in range(4):
            layer: list[tuple[Point, Point]] = []
            for basis in BASES:
                dx, dy = self._order(basis)[k]
                for ancilla in self.ancillas(basis):
                    q = (ancilla[0] + dx, ancilla[1] + dy)
                    if q in self._data_set:
                        layer.append((ancilla, q) if basis == "x" else (q, ancilla))
            layers.append(tuple(layer))
        return tuple(layers)

    def idle_in_layer(self, layer: int) -> tuple[Point, ...]:
        """Data qubits and ancillas without a CNOT in the layer."""
        busy = {q for pair in self.cnot_layers[layer] for q in pair}
        return tuple(q for q in self.index if q not in busy)

    @cached_property
    def _data_set(self) -> frozenset[Point]:
        return frozenset(self.data)

    def _logical_is_vertical(self, basis: Basis) -> bool:
        """A logical operator ends where the boundary ancillas are of its own type."""
        first, boundary = self.orientation
        top_type = first if boundary == "H" else {"X": "Z", "Z": "X"}[first]
        return top_type == basis.upper()

    def _order(self, basis: Basis) -> tuple[tuple[int, int], ...]:
        return _LAST_PAIR_HORIZONTAL if self._logical_is_vertical(basis) else _LAST_PAIR_VERTICAL

    def _distance(self, basis: Basis) -> int:
        if isinstance(self.distance, tuple):
            return self.distance[0 if basis == "x" else 1]
        return self.distance

    def _ancillas(self, basis: Basis) -> tuple[Point, ...]:
        parity = 0 if self.orientation[0] == basis.upper() else 1
        # Two-body stabilizers stand on the edges where the logical operator of their type ends.
        beyond = 1 if self._logical_is_vertical(basis) else 0
        rows = range(1 - beyond, self.rows + beyond)
        columns = range(beyond, self.columns + 1 - beyond)
        return tuple((2 * i, 2 * j) for j in rows for i in columns if (i + j) % 2 == parity)
