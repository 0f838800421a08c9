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
        channel: the noise instruction, such as 'DEPOLARIZE2'.
        role: what the qubit is doing: 'after CX', 'before M', or 'idle CX' (waiting while others do that).
        pauli: such as 'X' or 'IZ'; 'flip' for the noise argument of a measurement.
        qubits: on which it acts.
        layer: number of TICKs before it.
        rate: its probability in the circuit.
    """

    channel: str
    role: str
    pauli: str
    qubits: tuple[int, ...]
    layer: int
    rate: float


Sharing = Callable[[Location], str]


def by_gate_type(location: Location) -> str:
    """One parameter for everything that is alike but for place and time: '<role> <channel> <pauli>'."""
    return f"{location.role} {location.channel} {location.pauli}"


def by_location(location: Location) -> str:
    """One parameter for what differs in time only: the gate type and the qubits."""
    return f"{by_gate_type(location)} {','.join(map(str, location.qubits))}"


class NoiseLocations:
    """The noise locations of a circuit under labels; locations of one label share a parameter.

    Args:
        circuit: with noise; its REPEAT blocks are unrolled.
        share: label of a location.

    Raises:
        ValueError: no noise, or noise that is not made of independent Pauli channels.
    """

    def __init__(self, circuit: stim.Circuit, *, share: Sharing = by_gate_type) -> None:
        self._noiseless = stim.Circuit()  # the circuit without noise
        self._sites: dict[str, list[_Site]] = {}
        rates: dict[str, list[float]] = {}
        for entry in _with_roles(circuit.flattened()):
            for piece in _split(entry):
                if not piece.locations:
                    self._noiseless.append(piece.instruction)
                    continue
                self._noiseless.append("TICK", [])  # Stim would fuse the gates around the site into one
                by_label: dict[str, list[float]] = {}
                for k, location in enumerate(piece.locations):
                    if location.rate > 0:
                        name = share(location)
                        rates.setdefault(name, []).append(location.rate)
                        by_label.setdefault(name, [0.0] * len(piece.locations))[k] = location.rate
                for name, its in by_label.items():
                    site = _Site(len(self._noiseless), piece, tuple(its))
                    self._sites.setdefault(name, []).append(site)
                if piece.measures:
                    self._noiseless.append(piece.instruction.name, piece.instruction.targets_copy())
                    self._noiseless.append("TICK", [])
        if not rates:
            raise ValueError("the circuit has no noise; give it noise of any rates, its places count")
        self.names = tuple(sorted(rates))
        self.rates = tuple(sum(rates[name]) / len(rates[name]) for name in self.names)

    def only(self, name: str, *, rate: float) -> stim.Circuit:
        """The circuit with only the locations of one label on; their mean rate is `rate`."""
        factor = rate / self.rates[self.names.index(name)]
        circuit, done = stim.Circuit(), 0
        for site in self._sites[name]:
            circuit += self._noiseless[done : site.position]
            site.piece.append(circuit, [factor * r for r in site.rates])
            done = site.position + site.piece.measures
        return circuit + self._noiseless[done:]


@dataclass(frozen=True)
class _Piece:
    """An instruction, or the noise of one target group of one, with what it can do."""

    instruction: stim.CircuitInstruction
    locations: tuple[Location, ...]

    @property
    def measures(self) -> bool:
        return bool(stim.gate_data(self.instruction.name).produces_measurements)

    def append(self, circuit: stim.Circuit, rates: list[float]) -> None:
        """Appends its noise with the given rates, in the order of `locations`."""
        targets = self.instruction.targets_copy()
        if self.measures or self.instruction.name in _FLIPS:
            circuit.append(self.instruction.name, targets, rates[0])
        else:
            circuit.append(f"PAULI_CHANNEL_{len(self.locations[0].qubits)}", targets, rates)


@dataclass(frozen=True)
class _Site:
    """Where in the noiseless circuit a piece belongs, and the rates of one label's locations there."""

    position: int
    piece: _Piece
    rates: tuple[float, ...]


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
            # A layer of noise alone belongs to the gates before it.
            if len(layers) > 1 and not any(map(_gate_qubits, layers[-1])):
                alone = layers.pop()
                layers[-1] += alone
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
                    (Location(name, f"at {name}", "flip", qubits, layer, arguments[0]),),
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
            tuple(Location(name, role, p, qubits, layer, r) for p, r in zip(paulis, rates, strict=True)),
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
