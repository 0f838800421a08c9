"""What every noise instruction of Stim can do, and how it is written with other rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import stim

_ONE = ("X", "Y", "Z")
_TWO = ("IX", "IY", "IZ", "XI", "XX", "XY", "XZ", "YI", "YX", "YY", "YZ", "ZI", "ZX", "ZY", "ZZ")
_HERALDED = ("heralded I", "heralded X", "heralded Y", "heralded Z")
_FLIPS = {"X_ERROR": "X", "Y_ERROR": "Y", "Z_ERROR": "Z"}
# What stands for something that Stim does not simulate, such as leakage: it flips nothing.
_IDENTITIES = {"I_ERROR", "II_ERROR"}
_CHAIN = {"E", "ELSE_CORRELATED_ERROR"}


@dataclass(frozen=True)
class NoisyGroup:
    """The noise of one target group of an instruction.

    Attributes:
        instruction: the instruction, with this group's targets only.
        faults: what can happen, such as 'X', 'IZ', 'heralded X', or 'flip' of a measurement's result.
        rates: float (faults,), their probabilities; 1 - p where p is above 1/2, since that is a fault which
            always happens and one of 1 - p.
        qubits: on which it acts; none for a padding measurement.
        measures: whether it adds a measurement to the record, noisy or not.
    """

    instruction: stim.CircuitInstruction
    faults: tuple[str, ...]
    rates: tuple[float, ...]
    qubits: tuple[int, ...]
    measures: bool

    def with_rates(self, rates: Sequence[float]) -> stim.CircuitInstruction:
        """The instruction whose faults have these probabilities."""
        name, targets = self.instruction.name, self.instruction.targets_copy()
        if self.faults == _HERALDED:
            return stim.CircuitInstruction("HERALDED_PAULI_CHANNEL_1", targets, rates)
        if name in _CHAIN:
            return stim.CircuitInstruction("CORRELATED_ERROR", targets, rates)
        if len(self.faults) > 1:
            return stim.CircuitInstruction(f"PAULI_CHANNEL_{len(self.qubits)}", targets, rates)
        return stim.CircuitInstruction(name, targets, rates)

    @property
    def noiseless(self) -> stim.CircuitInstruction:
        """What is left of it without noise, where it `measures`."""
        if self.faults == _HERALDED:
            return self.with_rates([0.0] * len(_HERALDED))
        return stim.CircuitInstruction(self.instruction.name, self.instruction.targets_copy())


class NoisyGroups:
    """Takes the noise of a circuit apart, in its order: chains of correlated errors have a state."""

    def __init__(self) -> None:
        self._none_yet = 1.0  # probability that no error of the chain has happened

    def of(self, instruction: stim.CircuitInstruction) -> Iterator[NoisyGroup]:
        """The noise of each target group; of an instruction without noise, nothing.

        Raises:
            ValueError: noise of an unknown kind.
        """
        name, arguments = instruction.name, instruction.gate_args_copy()
        if not is_noisy(instruction) or name in _IDENTITIES:
            return
        measures = bool(stim.gate_data(name).produces_measurements)
        for group in instruction.target_groups():
            faults, rates = self._faults(name, arguments, group)
            targets = _product(group) if name == "MPP" else group
            yield NoisyGroup(
                instruction=stim.CircuitInstruction(name, targets, arguments),
                faults=faults,
                rates=tuple(min(rate, 1 - rate) for rate in rates),
                qubits=() if name == "MPAD" else tuple(t.value for t in group),
                measures=measures,
            )

    def _faults(
        self, name: str, arguments: list[float], group: Sequence[stim.GateTarget]
    ) -> tuple[tuple[str, ...], list[float]]:
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
        if name == "HERALDED_ERASE":
            return _HERALDED, [arguments[0] / 4] * 4
        if name == "HERALDED_PAULI_CHANNEL_1":
            return _HERALDED, arguments
        if name in _CHAIN:
            before = self._none_yet if name == "ELSE_CORRELATED_ERROR" else 1.0
            self._none_yet = before * (1 - arguments[0])
            return (_paulis(group),), [before * arguments[0]]
        if name == "MPP":
            return (f"{_paulis(group)} flip",), arguments
        if stim.gate_data(name).produces_measurements:
            return ("flip",), arguments
        raise ValueError(
            f"noise learning does not know {name}; write it as PAULI_CHANNEL_1, PAULI_CHANNEL_2 or "
            "CORRELATED_ERROR, or leave it out: the rates of a circuit are a first guess, its places count"
        )


def is_noisy(instruction: stim.CircuitInstruction) -> bool:
    """Whether it is noise, or a measurement with a probability to be wrong."""
    data = stim.gate_data(instruction.name)
    if (
        data.produces_measurements
    ):  # a padding measurement takes a probability, though Stim calls it noiseless
        return bool(instruction.gate_args_copy())
    return bool(data.is_noisy_gate)


def is_pure_noise(instruction: stim.CircuitInstruction) -> bool:
    """Whether it is noise alone: no measurement of qubits either, but maybe a herald."""
    data = stim.gate_data(instruction.name)
    return bool(
        data.is_noisy_gate and (not data.produces_measurements or instruction.name.startswith("HERALDED_"))
    )


def _product(group: Sequence[stim.GateTarget]) -> list[stim.GateTarget]:
    """The group's Paulis as one product, as MPP takes it: '*' between them."""
    targets = [group[0]]
    for target in group[1:]:
        targets += [stim.target_combiner(), target]
    return targets


def _paulis(group: Sequence[stim.GateTarget]) -> str:
    """Such as 'XZ'."""
    return "".join(t.pauli_type for t in group)
