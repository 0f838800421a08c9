"""Noise channels: the locations they are at, what each of the 25 rates does, and per-location variation."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import cast

import numpy as np
import pytest
import stim

from qec.circuits.memory import memory_circuit
from qec.circuits.noise import NOISE_PARAMETERS, CircuitNoise, LocationVariation, depolarizing, si1000
from qec.circuits.rotated_patch import BASES, ORIENTATIONS, Basis, Orientation, RotatedPatch

ALL = list(product(ORIENTATIONS, BASES))
NOISE_NAMES = {"X_ERROR", "Z_ERROR", "DEPOLARIZE1", "DEPOLARIZE2", "PAULI_CHANNEL_1", "PAULI_CHANNEL_2"}


def instructions(circuit: stim.Circuit) -> list[stim.CircuitInstruction]:
    """All instructions, loops unrolled."""
    return list(cast("Iterable[stim.CircuitInstruction]", circuit.flattened()))


def errors(dem: stim.DetectorErrorModel) -> list[stim.DemInstruction]:
    """All error mechanisms, loops unrolled."""
    return [i for i in dem.flattened() if isinstance(i, stim.DemInstruction) and i.type == "error"]


def mechanisms(dem: stim.DetectorErrorModel) -> dict[tuple[str, ...], float]:
    """Probability of every set of symptoms."""
    return {
        tuple(sorted(map(str, instruction.targets_copy()))): instruction.args_copy()[0]
        for instruction in errors(dem)
    }


Fault = list[tuple[int, dict[int, str]]]


def faults(circuit: stim.Circuit, patch: RotatedPatch, *, reset: bool) -> Iterator[Fault]:
    """Every single fault of the paper's noise, read off a noiseless circuit.

    Yields [(k, {qubit: Pauli}), ...], Paulis before the k-th instruction of the flattened circuit. A wrong
    result is a flip before the measurement, and without reset another one after it.
    """
    data = {patch.index[q] for q in patch.data}
    everything = set(patch.index.values())
    flip = {"RX": "Z", "MX": "Z", "R": "X", "M": "X"}
    ready = False
    for k, instruction in enumerate(instructions(circuit)):
        targets = [t.value for t in instruction.targets_copy() if t.is_qubit_target]
        if instruction.name in ("R", "RX"):
            yield from ([(k + 1, {q: flip[instruction.name]})] for q in targets)
        elif instruction.name in ("M", "MX"):
            around = (k,) if reset else (k, k + 1)
            yield from ([(at, {q: flip[instruction.name]}) for at in around] for q in targets)
        elif instruction.name == "CX":
            for pair in zip(targets[::2], targets[1::2], strict=True):
                for a, b in list(product("IXYZ", repeat=2))[1:]:
                    yield [(k + 1, dict(zip(pair, (a, b), strict=True)))]
            yield from ([(k + 1, {q: p})] for q in everything - set(targets) for p in "XYZ")
        # Ancillas of the two types are handled by two instructions in one time step; the later ends it.
        if instruction.name == "M" and not data & set(targets):
            yield from ([(k + 1, {q: p})] for q in data for p in "XYZ")
            ready = True
        if instruction.name == "R" and not data & set(targets) and ready:
            yield from ([(k + 1, {q: p})] for q in data for p in "XYZ")


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(("orientation", "basis"), ALL)
def test_dem_has_exactly_the_mechanisms_of_all_single_faults(
    orientation: Orientation, basis: Basis, reset: bool
) -> None:
    patch = RotatedPatch(3, orientation)
    options = {"distance": 3, "rounds": 3, "basis": basis, "orientation": orientation, "reset": reset}
    clean = memory_circuit(noise=CircuitNoise(), **options)
    every = list(faults(clean, patch, reset=reset))
    simulator = stim.FlipSimulator(
        batch_size=len(every), num_qubits=len(patch.index), disable_stabilizer_randomization=True
    )
    masks: dict[tuple[int, str], np.ndarray] = {}
    for i, fault in enumerate(every):
        for k, paulis in fault:
            for q, pauli in paulis.items():
                mask = masks.setdefault((k, pauli), np.zeros((len(patch.index), len(every)), dtype=np.bool_))
                mask[q, i] = True
    for k, instruction in enumerate(instructions(clean)):
        for pauli in "XYZ":
            if (k, pauli) in masks:
                simulator.broadcast_pauli_errors(pauli=pauli, mask=masks[k, pauli])
        simulator.do(instruction)
    symptoms = set()
    for detectors, flips in zip(
        simulator.get_detector_flips().T, simulator.get_observable_flips().T, strict=True
    ):
        names = [f"D{i}" for i in np.flatnonzero(detectors)] + [f"L{i}" for i in np.flatnonzero(flips)]
        symptoms.add(tuple(sorted(names)))
    symptoms.discard(())
    dem = memory_circuit(noise=depolarizing(0.001), **options).detector_error_model()
    assert set(mechanisms(dem)) == symptoms
    assert dem.num_errors == len(symptoms)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("name", NOISE_PARAMETERS)
@pytest.mark.parametrize("basis", BASES)
def test_each_parameter_moves_the_dem(name: str, basis: Basis, reset: bool) -> None:
    def dem(noise: CircuitNoise) -> dict[tuple[str, ...], float]:
        circuit = memory_circuit(distance=3, rounds=3, noise=noise, basis=basis, reset=reset)
        return mechanisms(circuit.detector_error_model(approximate_disjoint_errors=True))

    alone = dem(replace(CircuitNoise(), **{name: 0.01}))
    assert alone
    before = dem(depolarizing(0.01))
    after = dem(replace(depolarizing(0.01), **{name: 0.02}))
    assert before.keys() == after.keys()
    changed = {s for s in before if not math.isclose(before[s], after[s], rel_tol=1e-6)}
    assert changed >= alone.keys()


@pytest.mark.parametrize("distance", [3, 5])
def test_number_of_noise_locations(distance: int) -> None:
    rounds, d = 4, distance
    noise = replace(depolarizing(0.01), idle_spam_x=0.001)  # tells the two idle channels apart
    counts: dict[str, int] = defaultdict(int)
    for instruction in instructions(memory_circuit(distance=d, rounds=rounds, noise=noise)):
        counts[instruction.name] += len(instruction.targets_copy()) * (instruction.name in NOISE_NAMES)
    assert counts["X_ERROR"] == rounds * (d * d - 1)
    assert counts["Z_ERROR"] == rounds * (d * d - 1) + 2 * d * d
    assert counts["DEPOLARIZE2"] == rounds * 2 * (4 * d * (d - 1))
    assert counts["DEPOLARIZE1"] == rounds * (4 * (2 * d * d - 1) - 2 * (4 * d * (d - 1)))
    assert counts["PAULI_CHANNEL_1"] == (2 * rounds - 1) * d * d


def location_rates(circuit: stim.Circuit) -> dict[tuple[str, tuple[int, ...], int], set[float]]:
    """Rates of each channel, by name, qubits and how many TICKs of its round have passed."""
    rates: dict[tuple[str, tuple[int, ...], int], set[float]] = defaultdict(set)
    ticks = 0
    for instruction in instructions(circuit):
        ticks = (
            0 if instruction.name in ("DETECTOR", "SHIFT_COORDS") else ticks + (instruction.name == "TICK")
        )
        if instruction.name in NOISE_NAMES:
            qubits = tuple(t.value for t in instruction.targets_copy())
            rates[instruction.name, qubits, ticks].add(round(sum(instruction.gate_args_copy()), 12))
    return rates


def test_variation_scales_locations_as_promised() -> None:
    options = {"distance": 13, "rounds": 3, "noise": depolarizing(0.001)}
    varied = memory_circuit(variation=LocationVariation(sigma=0.3, seed=5), **options)
    assert varied == memory_circuit(variation=LocationVariation(sigma=0.3, seed=5), **options)
    assert varied != memory_circuit(variation=LocationVariation(sigma=0.3, seed=6), **options)
    assert varied.without_noise() == memory_circuit(**options).without_noise()
    cnots = [sum(i.gate_args_copy()) for i in instructions(varied) if i.name == "DEPOLARIZE2"]
    per_round = 4 * 13 * 12
    assert len(cnots) == 3 * per_round
    assert cnots[:per_round] == cnots[per_round : 2 * per_round] == cnots[2 * per_round :]
    logs = np.log(np.array(cnots[:per_round]) / 0.001)
    assert len(set(logs)) == per_round
    assert abs(logs.mean()) < 5 * 0.3 / math.sqrt(per_round)
    assert abs(logs.std() / 0.3 - 1) < 5 / math.sqrt(2 * per_round)


def test_variation_of_zero_changes_no_probability() -> None:
    options = {"distance": 3, "rounds": 4, "noise": si1000(0.001)}
    plain = mechanisms(memory_circuit(**options).detector_error_model())
    varied = memory_circuit(variation=LocationVariation(sigma=0.0, seed=1), **options)
    assert mechanisms(varied.detector_error_model()) == pytest.approx(plain)


def test_variation_keeps_every_probability_valid() -> None:
    variation = LocationVariation(sigma=4.0, seed=2)
    for noise in (depolarizing(0.3), replace(depolarizing(0.3), cnot_xx=0.1, idle_cnot_z=0.2)):
        circuit = memory_circuit(distance=5, rounds=2, noise=noise, variation=variation)
        totals = [sum(i.gate_args_copy()) for i in instructions(circuit) if i.name in NOISE_NAMES]
        assert max(totals) == pytest.approx(0.5)
        circuit.detector_error_model(approximate_disjoint_errors=True)
