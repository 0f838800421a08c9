"""Memory circuits as superconducting devices run them: CZ and Hadamard gates, noise SI1000.

The gate set and noise of the public circuits that Tesseract is tested on ("gates=cz"): qubits are reset and
measured in the Z basis alone, and a CNOT is a CZ between two Hadamards on its target; neighbours cancel.
"""

from __future__ import annotations

import stim

from qec import Basis, CircuitNoise, memory_circuit

__all__ = ["si1000_cz_circuit"]


def si1000_cz_circuit(*, distance: int, rounds: int, basis: Basis, p: float) -> stim.Circuit:
    """The memory experiment of `qec.memory_circuit` from CZ gates, under SI1000 (arXiv:2108.10457).

    Layers are resets, Hadamards, CZ gates and measurements. CZ gates depolarize with p, Hadamards with
    p/10, and so do qubits that wait for either; resets flip with 2p, results of measurements with 5p, and
    qubits that wait for either depolarize with 2p. The last round and the measurement of data qubits are as
    noisy as others.

    Raises:
        ValueError: see `qec.memory_circuit`; or p outside [0, 0.1].
    """
    if not 0 <= p <= 0.1:
        raise ValueError(f"p={p!r} is outside [0, 0.1] (si1000 measures with 5p); choose e.g. 0.002")
    ideal = memory_circuit(distance=distance, rounds=rounds, basis=basis, noise=CircuitNoise())
    return _Layers(ideal.num_qubits, p).of(ideal)


class _Layers:
    """Builds the circuit layer by layer from one of RX, R, CX, MX and M without noise."""

    def __init__(self, num_qubits: int, p: float) -> None:
        self._circuit, self._qubits, self._p = stim.Circuit(), set(range(num_qubits)), p
        self._turned: set[int] = set()
        """Qubits that are one Hadamard away from where the circuit without noise has them."""

    def of(self, ideal: stim.Circuit) -> stim.Circuit:
        layer = stim.Circuit()
        for instruction in ideal.flattened():
            assert isinstance(instruction, stim.CircuitInstruction)
            if instruction.name == "TICK":
                self._append(layer)
                layer = stim.Circuit()
            else:
                layer.append(instruction)
        self._append(layer)
        return self._circuit

    def _append(self, layer: stim.Circuit) -> None:
        targets = {name: _targets(layer, name) for name in ("RX", "R", "CX", "MX", "M")}
        if targets["CX"]:
            flipped = set(targets["CX"][1::2])
            self._turn(flipped)
            self._circuit.append("CZ", targets["CX"])
            self._circuit.append("DEPOLARIZE2", targets["CX"], self._p)
            self._wait(set(targets["CX"]), self._p / 10)
            self._turned = flipped
        if targets["MX"] or targets["M"]:
            self._turn(set(targets["MX"]))
        for instruction in layer:
            assert isinstance(instruction, stim.CircuitInstruction)
            if instruction.name in ("MX", "M"):
                self._circuit.append("M", instruction.targets_copy(), 5 * self._p)
            elif instruction.name not in ("RX", "R", "CX"):
                self._circuit.append(instruction)
        reset = targets["RX"] + targets["R"]
        if reset:
            self._circuit.append("R", reset)
            self._circuit.append("X_ERROR", reset, 2 * self._p)
            self._turned ^= set(targets["RX"])
        busy = {*reset, *targets["MX"], *targets["M"]}
        if busy:
            self._wait(busy, 2 * self._p)
        self._circuit.append("TICK", [])

    def _turn(self, wanted: set[int]) -> None:
        """A layer of Hadamards before a gate that wants these qubits turned: those that are not, and back."""
        gates = sorted(self._turned ^ wanted)
        self._turned = set()
        if gates:
            self._circuit.append("H", gates)
            self._circuit.append("DEPOLARIZE1", gates, self._p / 10)
            self._wait(set(gates), self._p / 10)
            self._circuit.append("TICK", [])

    def _wait(self, busy: set[int], rate: float) -> None:
        waiting = sorted(self._qubits - busy)
        if waiting:
            self._circuit.append("DEPOLARIZE1", waiting, rate)


def _targets(layer: stim.Circuit, name: str) -> list[int]:
    targets = []
    for instruction in layer:
        assert isinstance(instruction, stim.CircuitInstruction)
        if instruction.name == name:
            targets += [target.value for target in instruction.targets_copy()]
    return targets
