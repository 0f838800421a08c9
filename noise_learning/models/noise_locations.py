"""The noise locations of a circuit, and circuits in which only some of them are noisy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import stim

from noise_learning.models.noise_channels import NoisyGroup, NoisyGroups, is_noisy, is_pure_noise

# What the annotations of a circuit do to no qubit.
_ANNOTATIONS = {"TICK", "QUBIT_COORDS", "SHIFT_COORDS", "DETECTOR", "OBSERVABLE_INCLUDE", "MPAD"}


@dataclass(frozen=True)
class Location:
    """One Pauli that can happen at one place.

    Attributes:
        channel: the noise instruction, such as 'DEPOLARIZE2', or the measurement.
        role: what the qubit is doing: 'after CX', 'before M', or 'idle CX' (waiting while others do that).
        pauli: such as 'X', 'IZ' or 'heralded X'; 'flip' for the noise argument of a measurement.
        qubits: on which it acts.
        layer: number of TICKs before it.
        rate: its probability in the circuit; 1 - p where p is above 1/2.
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
        ValueError: no noise, or noise of a kind that is not known.
    """

    def __init__(self, circuit: stim.Circuit, *, share: Sharing = by_gate_type) -> None:
        self._noiseless = stim.Circuit()  # the circuit without noise
        self._sites: dict[str, list[_Site]] = {}
        rates: dict[str, list[float]] = {}
        groups = NoisyGroups()
        for step in _with_roles(circuit.flattened()):
            if not is_noisy(step.instruction):
                self._noiseless.append(step.instruction)
            for group in groups.of(step.instruction):
                self._noiseless.append("TICK", [])  # Stim would fuse the gates around the site into one
                by_label: dict[str, list[float]] = {}
                for k, location in enumerate(step.locations(group)):
                    if location.rate > 0:
                        name = share(location)
                        rates.setdefault(name, []).append(location.rate)
                        by_label.setdefault(name, [0.0] * len(group.faults))[k] = location.rate
                for name, its in by_label.items():
                    site = _Site(len(self._noiseless), group, tuple(its))
                    self._sites.setdefault(name, []).append(site)
                if group.measures:
                    self._noiseless.append(group.noiseless)
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
            circuit.append(site.group.with_rates([factor * r for r in site.rates]))
            done = site.position + site.group.measures
        return circuit + self._noiseless[done:]


@dataclass(frozen=True)
class _Site:
    """Where in the noiseless circuit a group belongs, and the rates of one label's locations there."""

    position: int
    group: NoisyGroup
    rates: tuple[float, ...]


@dataclass(frozen=True)
class _Step:
    """An instruction and what goes on around it.

    Attributes:
        layer: number of TICKs before it.
        last, following: of each qubit, the last gate before noise and the next one after it in the layer.
        every: all gates of the layer.
    """

    instruction: stim.CircuitInstruction
    layer: int
    last: dict[int, str]
    following: dict[int, str]
    every: str

    def locations(self, group: NoisyGroup) -> Iterator[Location]:
        """What can happen to one target group of the instruction."""
        name = self.instruction.name
        role = self._role(group.qubits) if is_pure_noise(self.instruction) else f"at {name}"
        for fault, rate in zip(group.faults, group.rates, strict=True):
            yield Location(name, role, fault, group.qubits, self.layer, rate)

    def _role(self, qubits: tuple[int, ...]) -> str:
        if qubits[0] in self.last:
            return f"after {self.last[qubits[0]]}"
        if qubits[0] in self.following:
            return f"before {self.following[qubits[0]]}"
        return f"idle {self.every}".rstrip()


def _with_roles(circuit: stim.Circuit) -> Iterator[_Step]:
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
            if is_pure_noise(instruction):
                for later, qubits in zip(layer[k + 1 :], gates[k + 1 :], strict=True):
                    for q in qubits:
                        following.setdefault(q, later.name)
            yield _Step(instruction, number, last, following, every)
            last |= dict.fromkeys(gates[k], instruction.name)


def _gate_qubits(instruction: stim.CircuitInstruction) -> list[int]:
    """Qubits that a gate, preparation or measurement acts on; none for noise, annotations and I."""
    if is_pure_noise(instruction) or instruction.name in _ANNOTATIONS or instruction.name == "I":
        return []
    return [t.value for t in instruction.targets_copy() if t.is_qubit_target or t.pauli_type != "I"]
