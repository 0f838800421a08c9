"""The noise locations of a circuit, and circuits in which only some of them are noisy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import stim

_ONE = ("X", "Y", "Z")
_TWO = ("IX", "IY", "IZ", "XI", "XX", "XY", "XZ", "YI", "YX", "YY", "YZ", "ZI", "ZX", "ZY", "ZZ")
_FLIPS = {"X_ERROR": "X", "Y_ERROR": "Y", "Z_ERROR": "Z"}
# What the annotations of a circuit do to no qubit.
_ANNOTATIONS = {"TICK", "QUBIT_COORDS", "SHIFT_COORDS", "DETECTOR", "OBSERVABLE_INCLUDE", "MPAD"}


@dataclass(frozen=True)
class Location:
    """One Pauli that can happen at one place.

    Attributes:
        role: what the qubit is doing: 'after CX', 'before M', or 'idle CX' (waiting while others do that).
        pauli: such as 'X' or 'IZ'; 'flip' for the noise argument of a measurement.
        qubits: on which it acts.
        layer: number of TICKs before it.
        rate: its probability in the circuit.
    """

    role: str
    pauli: str
    qubits: tuple[int, ...]
    layer: int
    rate: float


Tie = Callable[[Location], str]


def by_role(location: Location) -> str:
    """Ties everything that is alike but for place and time: '<role> <pauli>'."""
    return f"{location.role} {location.pauli}"


def by_place(location: Location) -> str:
    """Ties what differs in time only: '<role> <pauli> <qubits>'."""
    return f"{location.role} {location.pauli} {','.join(map(str, location.qubits))}"


class NoiseLocations:
    """The noise locations of a circuit under labels; locations of one label are tied.

    Args:
        circuit: with noise; its REPEAT blocks are unrolled.
        tie: label of a location.

    Raises:
        ValueError: no noise, or noise that is not made of independent Pauli channels.
    """

    def __init__(self, circuit: stim.Circuit, *, tie: Tie = by_role) -> None:
        self._parts = [list(_split(i)) for i in _with_roles(circuit.flattened())]
        found: dict[str, list[float]] = {}
        self._labels: list[list[list[str]]] = []
        for part in self._parts:
            labels = [[tie(location) for location in piece.locations] for piece in part]
            self._labels.append(labels)
            for piece, names in zip(part, labels, strict=True):
                for location, name in zip(piece.locations, names, strict=True):
                    if location.rate > 0:
                        found.setdefault(name, []).append(location.rate)
        if not found:
            raise ValueError(
                "the circuit has no noise; give it noise of any rates, its places are what counts"
            )
        self.names = tuple(sorted(found))
        self.rates = tuple(sum(found[name]) / len(found[name]) for name in self.names)

    def only(self, name: str, *, rate: float) -> stim.Circuit:
        """The circuit with only the locations of one label on; their mean rate is `rate`."""
        factor = rate / self.rates[self.names.index(name)]
        circuit = stim.Circuit()
        for part, labels in zip(self._parts, self._labels, strict=True):
            for piece, names in zip(part, labels, strict=True):
                chosen = [n == name for n in names]
                if piece.locations and not piece.measures and not any(chosen):
                    continue
                piece.append(
                    circuit, [factor * loc.rate * on for loc, on in zip(piece.locations, chosen, strict=True)]
                )
        return circuit


@dataclass(frozen=True)
class _Piece:
    """An instruction, or the noise of one target group of one, with what it can do."""

    instruction: stim.CircuitInstruction
    locations: tuple[Location, ...]

    @property
    def measures(self) -> bool:
        return bool(stim.gate_data(self.instruction.name).produces_measurements)

    def append(self, circuit: stim.Circuit, rates: list[float]) -> None:
        """Appends it with the given rates, in the order of `locations`."""
        if not self.locations:
            circuit.append(self.instruction)
            return
        targets = self.instruction.targets_copy()
        if self.measures:
            circuit.append(self.instruction.name, targets, rates[0] if rates[0] else ())
        elif self.instruction.name in _FLIPS:
            circuit.append(self.instruction.name, targets, rates[0])
        else:
            circuit.append(f"PAULI_CHANNEL_{len(self.locations[0].qubits)}", targets, rates)


def _with_roles(
    circuit: stim.Circuit,
) -> Iterator[tuple[stim.CircuitInstruction, int, dict[int, str], dict[int, str], str]]:
    """Every instruction with its layer, the last and next gate of each qubit there, and all its gates."""
    layers: list[list[stim.CircuitInstruction]] = [[]]
    for instruction in circuit:
        if isinstance(instruction, stim.CircuitRepeatBlock):
            raise ValueError("unroll REPEAT blocks first (stim.Circuit.flattened)")
        layers[-1].append(instruction)
        if instruction.name == "TICK":
            layers.append([])
    for number, layer in enumerate(layers):
        gates = [_gate_qubits(instruction) for instruction in layer]
        every = "+".join(sorted({i.name for i, qubits in zip(layer, gates, strict=True) if qubits}))
        last: dict[int, str] = {}
        for k, instruction in enumerate(layer):
            following: dict[int, str] = {}
            if _is_noise(instruction):
                for later, qubits in zip(layer[k + 1 :], gates[k + 1 :], strict=True):
                    for q in qubits:
                        following.setdefault(q, later.name)
            yield instruction, number, last, following, every
            last |= dict.fromkeys(gates[k], instruction.name)


def _gate_qubits(instruction: stim.CircuitInstruction) -> list[int]:
    """Qubits that a gate, preparation or measurement acts on; none for noise, annotations and I."""
    if _is_noise(instruction) or instruction.name in _ANNOTATIONS or instruction.name == "I":
        return []
    return [t.value for t in instruction.targets_copy() if t.is_qubit_target]


def _is_noise(instruction: stim.CircuitInstruction) -> bool:
    data = stim.gate_data(instruction.name)
    return bool(data.is_noisy_gate and not data.produces_measurements)


def _split(
    entry: tuple[stim.CircuitInstruction, int, dict[int, str], dict[int, str], str],
) -> Iterator[_Piece]:
    instruction, layer, last, following, every = entry
    arguments = instruction.gate_args_copy()
    name = instruction.name
    if not _is_noise(instruction):
        if stim.gate_data(name).produces_measurements and arguments and name != "MPAD":
            for group in instruction.target_groups():
                qubits = tuple(t.value for t in group if not t.is_combiner)
                yield _Piece(
                    stim.CircuitInstruction(name, group, arguments),
                    (Location(f"at {name}", "flip", qubits, layer, arguments[0]),),
                )
        else:
            yield _Piece(instruction, ())
        return
    paulis, rates = _channel(name, arguments)
    for group in instruction.target_groups():
        qubits = tuple(t.value for t in group)
        role = _role(qubits, last, following, every)
        yield _Piece(
            stim.CircuitInstruction(name, group, arguments),
            tuple(Location(role, p, qubits, layer, r) for p, r in zip(paulis, rates, strict=True)),
        )


def _channel(name: str, arguments: list[float]) -> tuple[tuple[str, ...], list[float]]:
    if name in _FLIPS:
        return (_FLIPS[name],), arguments
    if name == "DEPOLARIZE1":
        return _ONE, [arguments[0] / 3] * 3
    if name == "DEPOLARIZE2":
        return _TWO, [arguments[0] / 15] * 15
    if name == "PAULI_CHANNEL_1":
        return _ONE, arguments
    if name == "PAULI_CHANNEL_2":
        return _TWO, arguments
    raise ValueError(
        f"noise learning knows Pauli channels, not {name}; write it as PAULI_CHANNEL_1 or PAULI_CHANNEL_2"
    )


def _role(qubits: tuple[int, ...], last: dict[int, str], following: dict[int, str], every: str) -> str:
    if qubits[0] in last:
        return f"after {last[qubits[0]]}"
    if qubits[0] in following:
        return f"before {following[qubits[0]]}"
    return f"idle {every}".rstrip()
