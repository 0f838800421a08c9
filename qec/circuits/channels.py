"""Noise instructions of a memory circuit: where each of the 25 rates goes, uniformly or by location."""

import math
from collections.abc import Iterable, Sequence

import stim

from qec.circuits.noise import MAX_CHANNEL_RATE, CircuitNoise, LocationVariation
from qec.circuits.rotated_patch import Basis, Point, RotatedPatch

Location = tuple[str, int, tuple[Point, ...]]  # kind, CNOT layer (0 for kinds outside CNOT layers), qubits
_FLIP: dict[Basis, str] = {"x": "Z_ERROR", "z": "X_ERROR"}
_PAULI_1, _PAULI_2 = "PAULI_CHANNEL_1", "PAULI_CHANNEL_2"
_DEPOLARIZE = {_PAULI_1: "DEPOLARIZE1", _PAULI_2: "DEPOLARIZE2"}


class NoiseChannels:
    """Append the noise of a patch's locations to circuits.

    Without variation a group of locations is one instruction; with it, one instruction a location.
    """

    def __init__(
        self, patch: RotatedPatch, noise: CircuitNoise, variation: LocationVariation | None = None
    ) -> None:
        self._index = patch.index
        self._noise = noise
        self._factors: dict[Location, float] | None = None
        if variation is not None:
            locations = _locations(patch)
            self._factors = dict(zip(locations, variation.factors(len(locations)).tolist(), strict=True))

    def preparation(self, circuit: stim.Circuit, basis: Basis, qubits: Iterable[Point]) -> None:
        """Append flips of qubits that have just been prepared in the basis."""
        rate = self._noise.prep_x if basis == "x" else self._noise.prep_z
        self._append(circuit, _FLIP[basis], (rate,), [("prep", 0, (q,)) for q in qubits])

    def measurement(self, circuit: stim.Circuit, basis: Basis, qubits: Iterable[Point]) -> None:
        """Append flips of qubits that are about to be measured in the basis."""
        rate = self._noise.meas_x if basis == "x" else self._noise.meas_z
        self._append(circuit, _FLIP[basis], (rate,), [("meas", 0, (q,)) for q in qubits])

    def wrong_results(self, circuit: stim.Circuit, basis: Basis, qubits: Iterable[Point]) -> None:
        """Append the measurement of qubits in the basis whose results may be wrong; states do not flip."""
        rate = self._noise.meas_x if basis == "x" else self._noise.meas_z
        locations: list[Location] = [("meas", 0, (q,)) for q in qubits]
        name = "MX" if basis == "x" else "M"
        if rate:
            self._append(circuit, name, (rate,), locations)
        else:
            circuit.append(name, [self._index[q] for _, _, (q,) in locations])

    def idle_in_preparation(self, circuit: stim.Circuit, qubits: Iterable[Point]) -> None:
        """Append the noise of data qubits that wait while ancillas are prepared."""
        self._append(circuit, _PAULI_1, self._noise.idle_spam, [("idle_prep", 0, (q,)) for q in qubits])

    def idle_in_measurement(self, circuit: stim.Circuit, qubits: Iterable[Point]) -> None:
        """Append the noise of data qubits that wait while ancillas are measured."""
        self._append(circuit, _PAULI_1, self._noise.idle_spam, [("idle_meas", 0, (q,)) for q in qubits])

    def cnots(self, circuit: stim.Circuit, layer: int, pairs: Iterable[tuple[Point, Point]]) -> None:
        """Append the noise of the CNOTs of a layer that have just been applied."""
        self._append(circuit, _PAULI_2, self._noise.cnot, [("cnot", layer, pair) for pair in pairs])

    def idle_in_cnots(self, circuit: stim.Circuit, layer: int, qubits: Iterable[Point]) -> None:
        """Append the noise of qubits that wait while others take part in the layer's CNOTs."""
        self._append(circuit, _PAULI_1, self._noise.idle_cnot, [("idle_cnot", layer, (q,)) for q in qubits])

    def _append(
        self, circuit: stim.Circuit, name: str, rates: Sequence[float], locations: list[Location]
    ) -> None:
        total = math.fsum(rates)
        if not total:
            return
        if name in _DEPOLARIZE and len(set(rates)) == 1:
            # Stim analyses these exactly, while PAULI_CHANNEL_2 needs approximate_disjoint_errors.
            name, rates = _DEPOLARIZE[name], (total,)
        if self._factors is None:
            circuit.append(name, [self._index[q] for _, _, qubits in locations for q in qubits], rates)
            return
        for location in locations:
            factor = min(self._factors[location], MAX_CHANNEL_RATE / total)
            circuit.append(name, [self._index[q] for q in location[2]], [factor * r for r in rates])


def _locations(patch: RotatedPatch) -> list[Location]:
    """All locations of a memory experiment, in an order that rounds and basis do not change."""
    locations: list[Location] = []
    for kind in ("prep", "meas"):
        locations += [(kind, 0, (q,)) for q in patch.index]
    for kind in ("idle_prep", "idle_meas"):
        locations += [(kind, 0, (q,)) for q in patch.data]
    for k, pairs in enumerate(patch.cnot_layers):
        locations += [("cnot", k, pair) for pair in pairs]
        locations += [("idle_cnot", k, (q,)) for q in patch.idle_in_layer(k)]
    return locations
