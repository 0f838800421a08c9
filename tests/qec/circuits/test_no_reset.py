"""Memory circuits without mid-circuit reset: what each flip is seen by, distance, and sampled statistics."""

from collections.abc import Iterable
from itertools import combinations, product
from typing import cast

import numpy as np
import pytest
import stim

from qec import DemTables, detector_coordinates, normal_form
from qec.circuits.memory import memory_circuit
from qec.circuits.noise import CircuitNoise, LocationVariation, depolarizing
from qec.circuits.rotated_patch import BASES, ORIENTATIONS, Basis, Orientation, RotatedPatch

ALL = list(product(ORIENTATIONS, BASES))
Place = tuple[int, int, int]


def instructions(circuit: stim.Circuit) -> list[stim.CircuitInstruction]:
    """All instructions, loops unrolled."""
    return list(cast("Iterable[stim.CircuitInstruction]", circuit.flattened()))


def tables_of(circuit: stim.Circuit) -> DemTables:
    return normal_form(circuit.detector_error_model(decompose_errors=True)).tables


def seen_places(circuit: stim.Circuit) -> set[frozenset[Place]]:
    """Where the detectors of each mechanism stand."""
    dem = circuit.detector_error_model()
    places = [tuple(map(int, c[:3])) for c in detector_coordinates(dem)]
    detectors = normal_form(dem).tables.detectors
    return {
        frozenset(places[d] for d in detectors.indices[start:end])  # pyright: ignore[reportReturnType]
        for start, end in zip(detectors.indptr[:-1], detectors.indptr[1:], strict=True)
    }


def with_state_flips(circuit: stim.Circuit, ancillas: set[int]) -> stim.Circuit:
    """A noiseless circuit whose ancillas may flip right before they are measured."""
    noisy = stim.Circuit()
    for instruction in instructions(circuit):
        if instruction.name in ("M", "MX") and ancillas >= {t.value for t in instruction.targets_copy()}:
            noisy.append(
                "X_ERROR" if instruction.name == "M" else "Z_ERROR", instruction.targets_copy(), 0.01
            )
        noisy.append(instruction)
    return noisy


@pytest.mark.parametrize("rounds", [1, 2, 3, 6])
@pytest.mark.parametrize("basis", BASES)
def test_wrong_results_are_seen_two_rounds_apart_and_state_flips_in_consecutive_rounds(
    basis: Basis, rounds: int
) -> None:
    """Where the experiment begins or ends, what is left of a pair."""
    options = {"distance": 3, "rounds": rounds, "basis": basis, "reset": False}
    patch = RotatedPatch(3)
    circuit = memory_circuit(noise=CircuitNoise(meas_x=0.01, meas_z=0.01), **options)
    ancillas = (*patch.x_ancillas, *patch.z_ancillas)
    own = set(patch.ancillas(basis))
    there = {(*a, t) for a in ancillas for t in range(1, rounds)} | {
        (*a, t) for a in own for t in (0, rounds)
    }
    # The last measurement's two detectors are those of its round and of the data qubits' measurement.
    results = {
        frozenset({(*a, t), (*a, min(t + 2, rounds))} & there) for a in ancillas for t in range(rounds)
    }
    data = {frozenset((*a, rounds) for a in own if q in patch.support(a)) for q in patch.data}
    assert seen_places(circuit) == (results | data) - {frozenset()}
    flipped = with_state_flips(circuit.without_noise(), {patch.index[a] for a in ancillas})
    states = {frozenset({(*a, t), (*a, t + 1)} & there) for a in ancillas for t in range(rounds)}
    assert seen_places(flipped) == states - {frozenset()}


@pytest.mark.parametrize("basis", BASES)
def test_only_measurements_are_seen_unlike_with_reset(basis: Basis) -> None:
    """CNOTs, idling and the preparation of data qubits have the same mechanisms, of the same probability."""
    noise = CircuitNoise(
        **{f"cnot_{pauli}": 0.002 for pauli in ("ix", "xi", "zz", "yx", "zi", "iz")},
        idle_cnot_x=0.003,
        idle_cnot_z=0.001,
    )
    with_reset, without = (
        memory_circuit(distance=3, rounds=4, basis=basis, noise=noise, reset=reset)
        .detector_error_model(approximate_disjoint_errors=True, flatten_loops=True)
        .rounded(12)
        for reset in (True, False)
    )
    assert without == with_reset


def test_ancillas_are_prepared_once() -> None:
    circuit = memory_circuit(distance=3, rounds=5, noise=depolarizing(0.01), reset=False)
    prepared = [i for i in instructions(circuit) if i.name in ("R", "RX")]
    assert sum(len(i.targets_copy()) for i in prepared) == 9 + 8
    idle = memory_circuit(distance=3, rounds=5, noise=CircuitNoise(idle_spam_x=0.01), reset=False)
    noisy = [i for i in instructions(idle) if i.name == "PAULI_CHANNEL_1"]
    assert sum(len(i.targets_copy()) for i in noisy) == 5 * 9  # while ancillas are measured


def test_variation_scales_wrong_results() -> None:
    options = {"distance": 3, "rounds": 3, "noise": CircuitNoise(meas_x=0.01, meas_z=0.02), "reset": False}
    varied = memory_circuit(variation=LocationVariation(sigma=0.5, seed=3), **options)
    assert varied.without_noise() == memory_circuit(**options).without_noise()
    rates: dict[int, set[float]] = {}
    for instruction in instructions(varied):
        if instruction.name in ("M", "MX"):
            (target,) = instruction.targets_copy()
            rates.setdefault(target.value, set()).update(instruction.gate_args_copy())
    assert all(len(of_qubit) == 1 for of_qubit in rates.values())  # the same in all rounds
    assert len(set.union(*rates.values())) == len(rates) == 17


def test_perfect_last_round_leaves_the_wrong_results_before_it() -> None:
    circuit = memory_circuit(
        distance=3, rounds=4, noise=depolarizing(0.02), perfect_last_round=True, reset=False
    )
    seen = [places for places in seen_places(circuit) if any(t == 4 for *_, t in places)]
    patch = RotatedPatch(3)
    assert sorted(map(sorted, seen)) == sorted([(x, y, 2), (x, y, 4)] for x, y in patch.x_ancillas)


@pytest.mark.parametrize(("orientation", "basis"), ALL)
def test_distance_is_the_codes(orientation: Orientation, basis: Basis) -> None:
    for distance in (3, 4, (3, 5)):
        circuit = memory_circuit(
            distance=distance,
            rounds=4,
            noise=depolarizing(0.001),
            basis=basis,
            orientation=orientation,
            reset=False,
        )
        d_x, d_z = distance if isinstance(distance, tuple) else (distance, distance)
        assert len(circuit.shortest_graphlike_error()) == (d_z if basis == "x" else d_x)


@pytest.mark.slow
@pytest.mark.parametrize(("orientation", "basis"), [("XV", "x"), ("ZH", "z")])
def test_no_hyperedges_are_shorter(orientation: Orientation, basis: Basis) -> None:
    circuit = memory_circuit(
        distance=5, rounds=5, noise=depolarizing(0.001), basis=basis, orientation=orientation, reset=False
    )
    found = circuit.search_for_undetectable_logical_errors(
        dont_explore_detection_event_sets_with_size_above=4,
        dont_explore_edges_with_degree_above=4,
        dont_explore_edges_increasing_symptom_degree=False,
    )
    assert len(found) == len(circuit.shortest_graphlike_error()) == 5


@pytest.mark.parametrize("basis", BASES)
def test_no_two_faults_of_distance_three_are_a_logical_error(basis: Basis) -> None:
    """Exhaustively over all pairs of mechanisms, hyperedges included."""
    circuit = memory_circuit(distance=3, rounds=3, noise=depolarizing(0.001), basis=basis, reset=False)
    tables = tables_of(circuit)
    symptoms = [
        (
            tuple(tables.detectors.indices[tables.detectors.indptr[k] : tables.detectors.indptr[k + 1]]),
            bool(tables.observables[:, [k]].nnz),
        )
        for k in range(tables.num_mechanisms)
    ]
    assert all(detectors for detectors, _ in symptoms)
    assert not [1 for (a, flips), (b, others) in combinations(symptoms, 2) if a == b and flips != others]


def test_samples_have_the_statistics_of_the_dem() -> None:
    """Rates of detectors, of pairs one and two rounds apart, and of the observable's readout.

    Sampled by measurements of the circuit, not by its faults.
    """
    circuit = memory_circuit(distance=3, rounds=5, noise=depolarizing(0.02), basis="z", reset=False)
    shots = 40_000
    measured = circuit.compile_sampler(seed=7).sample(shots)
    events = circuit.compile_m2d_converter().convert(measurements=measured, append_observables=True)
    tables = tables_of(circuit)
    flips = np.vstack([tables.detectors.toarray(), tables.observables.toarray()])  # (D + 1, mechanisms)
    places = [tuple(map(int, c[:3])) for c in detector_coordinates(circuit.detector_error_model())]
    at = {place: d for d, place in enumerate(places)}
    pairs = [
        (d, at[x, y, t + step])
        for d, (x, y, t) in enumerate(places)
        for step in (1, 2)
        if (x, y, t + step) in at
    ]
    parities = [[d] for d in range(len(flips))] + [list(pair) for pair in pairs]
    bias = np.log1p(-2 * tables.probabilities)
    for members in parities:
        odd = flips[members].sum(axis=0) % 2
        expected = (1 - np.exp(odd @ bias)) / 2
        found = (events[:, members].sum(axis=1) % 2).mean()
        assert found == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / shots))
