"""Rotated-surface-code memory circuits with the 25-parameter noise model, and Stim's generated ones."""

from collections.abc import Sequence

import stim

from qec.circuits.channels import NoiseChannels
from qec.circuits.noise import CircuitNoise, LocationVariation
from qec.circuits.rotated_patch import BASES, Basis, Distance, Orientation, Point, RotatedPatch


def memory_circuit(
    *,
    distance: Distance,
    rounds: int,
    noise: CircuitNoise,
    basis: Basis = "x",
    orientation: Orientation = "XV",
    variation: LocationVariation | None = None,
    perfect_last_round: bool = False,
    reset: bool = True,
) -> stim.Circuit:
    """A memory experiment on the rotated surface code.

    Data qubits are prepared in |+> (basis 'x') or |0> ('z'); all stabilizers are measured `rounds` times;
    data qubits are measured in the same basis. A round is: preparation of ancillas, X ones in |+> and Z ones
    in |0>; four layers of CNOTs; measurement of ancillas, X ones in the X basis and Z ones in the Z basis.
    Observable 0 is the logical operator on the top row or left column.

    Detectors have coordinates (x, y, t), ancillas at even-even points, t the round: the memory basis'
    stabilizers at t = 0, all at 1 <= t < rounds, the memory basis' ones, now from the data qubits, at t =
    rounds. Within one t, X stabilizers come first, each type row by row.

    Every preparation and measurement can flip; each CNOT is followed by a two-qubit channel; each qubit
    without a gate in a CNOT layer idles (idle_cnot); data qubits idle (idle_spam) once while ancillas are
    prepared, except in the first round, when they are being prepared themselves, and once while ancillas are
    measured.

    The circuit's size does not depend on `rounds`: rounds after the first (the second, without `reset`) are a
    REPEAT block. Unless the 15 two-qubit rates are equal, `stim.Circuit.detector_error_model` needs
    `approximate_disjoint_errors=True`.

    Args:
        distance: of a square patch, any from 2 on; or (d_x, d_z) of a rectangular one, with a logical X of
            weight d_x and a logical Z of weight d_z. Basis 'x' then fails by the errors of weight d_z.
        orientation: the letter is the type of the upper-left bulk ancilla, at (2, 2), x to the right and y
            downwards. With 'V' the first boundary ancilla is above it, at (2, 0), with 'H' left of it, at
            (0, 2), and of the other type. So logical X is horizontal and logical Z vertical in 'XV' and 'ZH',
            the other way in 'XH' and 'ZV'. Stim's generated circuits have the geometry of 'ZV'.
        variation: factors on the rates of each location.
        perfect_last_round: the last of the `rounds` and the measurement of data qubits have no noise, so that
            detectors at t = rounds never fire; arXiv:2604.12841 counts rounds and syndrome density that way.
        reset: ancillas are prepared in every round. Otherwise they are prepared once and go on from the state
            in which they were measured, as in IBM's experiments: the detector at t is m[t] + m[t - 2]. Then
            meas_* are the rates of wrong results and flip no state, and data qubits do not idle while no
            ancillas are prepared; docs/how-to/noise-model.md has what is seen where.

    Raises:
        ValueError: distance less than 2, rounds less than 1 (2 with `perfect_last_round`), or an unknown
            basis or orientation.
    """
    _check_basis(basis)
    least = 2 if perfect_last_round else 1
    if rounds < least:
        raise ValueError(f"rounds={rounds} is too few; use {least} or more")
    patch = RotatedPatch(distance=distance, orientation=orientation)
    noisy = _MemoryParts(patch, basis, NoiseChannels(patch, noise, variation), reset=reset)
    if not perfect_last_round:
        return noisy.rounds(rounds) + noisy.data_measurement(rounds=rounds)
    perfect = _MemoryParts(patch, basis, NoiseChannels(patch, CircuitNoise()), reset=reset)
    last = perfect.later_round(compared=rounds > perfect.span)
    return noisy.rounds(rounds - 1) + last + perfect.data_measurement(rounds=rounds)


def stim_memory_circuit(*, distance: int, rounds: int, p: float, basis: Basis = "x") -> stim.Circuit:
    """Stim's generated rotated_memory circuit with its four noise parameters all equal to p ('uniform-stim').

    It differs from `memory_circuit(noise=depolarizing(p), orientation='ZV')`: X ancillas are prepared and
    measured through Hadamards that depolarize, preparations and measurements flip with p and not 2p/3, data
    qubits depolarize once a round, and qubits that wait in a CNOT layer have no noise.

    Raises:
        ValueError: distance or rounds too small, unknown basis, p outside [0, 0.5).
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds} is too few; use 1 or more")
    if not 0 <= p < 0.5:
        raise ValueError(f"p={p!r} is outside [0, 0.5); choose a physical error rate such as 0.003")
    _check_basis(basis)
    if distance < 2:
        raise ValueError(f"distance={distance} is too small; use 2 or more, such as 5")
    return stim.Circuit.generated(
        f"surface_code:rotated_memory_{basis}",
        distance=distance,
        rounds=rounds,
        after_clifford_depolarization=p,
        before_round_data_depolarization=p,
        before_measure_flip_probability=p,
        after_reset_flip_probability=p,
    )


def _check_basis(basis: str) -> None:
    if basis not in BASES:
        raise ValueError(f"basis={basis!r} is unknown; use {' or '.join(map(repr, BASES))}")


class _MemoryParts:
    """The parts that memory circuits are put together from, with one kind of noise.

    With m[t] for an ancilla's measurement in round t, its stabilizer's value is m[t] with reset, and m[t] +
    m[t - 1] without, where a measurement is the sum of all values so far; those before the first round are 0.
    A detector is the difference of two consecutive values: m[t] + m[t - span]. The last one compares the data
    qubits' parity with the value of the last round, which is the sum of the last `span` measurements.

    Attributes:
        span: rounds from a measurement to the one that its detector compares it with.
    """

    def __init__(self, patch: RotatedPatch, basis: Basis, channels: NoiseChannels, *, reset: bool) -> None:
        self.patch = patch
        self.basis: Basis = basis
        self.channels = channels
        self.reset = reset
        self.span = 1 if reset else 2
        ancillas = (*patch.x_ancillas, *patch.z_ancillas)  # in the order in which they are measured
        self.lookback = {q: k - len(ancillas) for k, q in enumerate(ancillas)}

    def rounds(self, count: int) -> stim.Circuit:
        """The first so many rounds of an experiment, those that are alike in a REPEAT block."""
        opening = min(count, self.span)
        circuit = self.first_round()
        for _ in range(1, opening):
            circuit += self.later_round(compared=False)
        if count > opening:
            circuit.append(stim.CircuitRepeatBlock(count - opening, self.later_round()))
        return circuit

    def first_round(self) -> stim.Circuit:
        """Coordinates, preparation, and the first round with its detectors."""
        circuit = stim.Circuit()
        for q, k in self.patch.index.items():
            circuit.append("QUBIT_COORDS", [k], q)
        self._prepare(circuit, self.basis, self.patch.data)
        self._prepare_ancillas(circuit)
        self._cnots_and_measurements(circuit)
        for q in self.patch.ancillas(self.basis):
            circuit.append("DETECTOR", [stim.target_rec(self.lookback[q])], (*q, 0))
        return circuit

    def later_round(self, *, compared: bool = True) -> stim.Circuit:
        """Any round after the first.

        Args:
            compared: whether there are measurements `span` rounds before, to compare with; if not, those
                before the first round stand for them, which are 0.
        """
        circuit = stim.Circuit()
        if self.reset:
            circuit.append("TICK", [])
            self._prepare_ancillas(circuit)
            self.channels.idle_in_preparation(circuit, self.patch.data)
        self._cnots_and_measurements(circuit)
        circuit.append("SHIFT_COORDS", [], (0, 0, 1))
        for q, now in self.lookback.items():
            records = [now, now - self.span * len(self.lookback)] if compared else [now]
            circuit.append("DETECTOR", [stim.target_rec(k) for k in records], (*q, 0))
        return circuit

    def data_measurement(self, *, rounds: int) -> stim.Circuit:
        """Measurement of data qubits after so many rounds, the detectors computed from it, the observable."""
        circuit = stim.Circuit("TICK")
        data = self.patch.data
        self._measure(circuit, self.basis, data)
        record = {q: stim.target_rec(k - len(data)) for k, q in enumerate(data)}
        for q in self.patch.ancillas(self.basis):
            before = [
                stim.target_rec(self.lookback[q] - len(data) - k * len(self.lookback))
                for k in range(min(self.span, rounds))
            ]
            circuit.append("DETECTOR", [*(record[s] for s in self.patch.support(q)), *before], (*q, 1))
        circuit.append("OBSERVABLE_INCLUDE", [record[q] for q in self.patch.logical(self.basis)], 0)
        return circuit

    def _prepare_ancillas(self, circuit: stim.Circuit) -> None:
        for basis in BASES:
            self._prepare(circuit, basis, self.patch.ancillas(basis))

    def _cnots_and_measurements(self, circuit: stim.Circuit) -> None:
        for k, pairs in enumerate(self.patch.cnot_layers):
            circuit.append("TICK", [])
            circuit.append("CX", [self.patch.index[q] for pair in pairs for q in pair])
            self.channels.cnots(circuit, k, pairs)
            self.channels.idle_in_cnots(circuit, k, self.patch.idle_in_layer(k))
        circuit.append("TICK", [])
        for basis in BASES:
            self._measure(circuit, basis, self.patch.ancillas(basis))
        self.channels.idle_in_measurement(circuit, self.patch.data)

    def _prepare(self, circuit: stim.Circuit, basis: Basis, qubits: Sequence[Point]) -> None:
        circuit.append("RX" if basis == "x" else "R", [self.patch.index[q] for q in qubits])
        self.channels.preparation(circuit, basis, qubits)

    def _measure(self, circuit: stim.Circuit, basis: Basis, qubits: Sequence[Point]) -> None:
        if self.reset:
            self.channels.measurement(circuit, basis, qubits)
            circuit.append("MX" if basis == "x" else "M", [self.patch.index[q] for q in qubits])
        else:
            self.channels.wrong_results(circuit, basis, qubits)
