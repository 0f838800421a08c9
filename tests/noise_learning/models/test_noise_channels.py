"""Every noise instruction of Stim is learned: rates of a small circuit, from a guess three times too low."""

from __future__ import annotations

import numpy as np
import pytest
import stim

from noise_learning import (
    Moments,
    NoiseFit,
    SharedParameterModel,
    Structure,
    attenuation,
    fit_closed_form,
    learn,
)
from noise_learning.models.noise_channels import NoisyGroups

SHOTS = 200_000
BELL = "R 0 1 2 3\nH 0 2\nCX 0 1 2 3\nTICK\n{}\nTICK\nCX 0 1 2 3\nH 0 2\nM 0 1 2 3"
FLIPPED = "".join(f"\nDETECTOR rec[{-k}]" for k in (4, 3, 2, 1))
HERALD = "\nDETECTOR rec[-5]"

# Of each instruction: a circuit, with the instruction's arguments left out, and the arguments of the guess.
CASES: dict[str, tuple[str, tuple[float, ...]]] = {
    "X_ERROR": (BELL.format("X_ERROR({}) 0 2") + FLIPPED, (0.01,)),
    "Y_ERROR": (BELL.format("Y_ERROR({}) 0 2") + FLIPPED, (0.01,)),
    "Z_ERROR": (BELL.format("Z_ERROR({}) 0 2") + FLIPPED, (0.01,)),
    "DEPOLARIZE1": (BELL.format("DEPOLARIZE1({}) 0 2") + FLIPPED, (0.01,)),
    "DEPOLARIZE2": (BELL.format("DEPOLARIZE2({}) 0 2") + FLIPPED, (0.01,)),
    "PAULI_CHANNEL_1": (BELL.format("PAULI_CHANNEL_1({}) 0") + FLIPPED, (0.01, 0.002, 0.005)),
    "PAULI_CHANNEL_2": (
        BELL.format("PAULI_CHANNEL_2({}) 0 2") + FLIPPED,
        tuple(0.0004 + 0.0001 * (k % 3) for k in range(15)),
    ),
    "E": (BELL.format("E({}) X0 Z2\nX_ERROR(0.002) 0") + FLIPPED, (0.01,)),
    "ELSE_CORRELATED_ERROR": (
        BELL.format("E(0.02) X0 Z2\nELSE_CORRELATED_ERROR({}) Y0\nE(0.01) Z0") + FLIPPED,
        (0.01,),
    ),
    "HERALDED_ERASE": (BELL.format("HERALDED_ERASE({}) 0") + FLIPPED + HERALD, (0.01,)),
    "HERALDED_PAULI_CHANNEL_1": (
        BELL.format("HERALDED_PAULI_CHANNEL_1({}) 0") + FLIPPED + HERALD,
        (0.008, 0.004, 0.002, 0.006),
    ),
    "I_ERROR": (BELL.format("I_ERROR({}) 0 2\nX_ERROR(0.01) 0") + FLIPPED, (0.01,)),
    "II_ERROR": (BELL.format("II_ERROR({}) 0 2\nX_ERROR(0.01) 0") + FLIPPED, (0.01,)),
    "M": ("R 0 1\nM({}) 0 !1\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MX": ("RX 0 1\nMX({}) 0 1\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MY": ("RY 0 1\nMY({}) 0 1\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MR": ("R 0\nMR({}) 0\nMR 0\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MRX": ("RX 0\nMRX({}) 0\nMRX 0\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MRY": ("RY 0\nMRY({}) 0\nMRY 0\nDETECTOR rec[-1]\nDETECTOR rec[-2]", (0.01,)),
    "MXX": ("RX 0 1\nMXX({}) 0 1\nDETECTOR rec[-1]", (0.01,)),
    "MYY": ("RY 0 1\nMYY({}) 0 !1\nDETECTOR rec[-1]", (0.01,)),
    "MZZ": ("R 0 1\nMZZ({}) 0 1\nDETECTOR rec[-1]", (0.01,)),
    "MPP": (
        "R 0 1 2\nH 0\nCX 0 1\nMPP({}) X0*X1 !Z0*Z1*Z2 Z2\n"
        + "".join(f"DETECTOR rec[-{k}]\n" for k in (1, 2, 3)),
        (0.01,),
    ),
    "MPAD": ("MPAD({}) 0 1\nR 0\nX_ERROR(0.02) 0\nM 0\nDETECTOR rec[-2]\nDETECTOR rec[-1]", (0.01,)),
}


def circuit_of(name: str, *, factor: float) -> stim.Circuit:
    text, arguments = CASES[name]
    return stim.Circuit(text.format(", ".join(str(factor * a) for a in arguments)))


def truth(circuit: stim.Circuit) -> dict[tuple[int, ...], float]:
    """Attenuations of detector sets, by Stim."""
    structure = Structure.from_circuit(circuit)
    return dict(zip(structure.detector_sets, structure.prior_attenuation.tolist(), strict=True))


def test_all_noise_of_stim_has_a_case() -> None:
    gates = stim.gate_data().items()
    takes_rate = {
        n for n, data in gates if data.produces_measurements and 1 in data.num_parens_arguments_range
    }
    assert {name for name, data in gates if data.is_noisy_gate} | takes_rate == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_rates_are_learned(name: str) -> None:
    guess, device = circuit_of(name, factor=1), circuit_of(name, factor=3)
    model = SharedParameterModel.of_circuit(guess)
    shots = device.compile_detector_sampler(seed=1).sample(SHOTS, bit_packed=True)
    moments = Moments.from_shots(model.structure.subsets, shots)
    for fit in (learn(moments, model), fit_closed_form(moments, model.structure)):
        check(fit, truth(device))


def check(fit: NoiseFit, expected: dict[tuple[int, ...], float]) -> None:
    """Rates within statistics, and within the 5 % that exclusive faults taken as independent may cost."""
    structure = fit.structure
    a = structure.membership @ attenuation(fit.p)
    sigma = np.sqrt(structure.membership @ (2 * np.exp(attenuation(fit.p)) * fit.sigma) ** 2)
    for members, found, error in zip(structure.detector_sets, a, sigma, strict=True):
        assert abs(found - expected[members]) < 5 * error + 0.05 * expected[members]


@pytest.mark.parametrize("name", CASES)
def test_the_guess_is_the_circuit_itself(name: str) -> None:
    """Rates taken apart and put together again give Stim's DEM."""
    circuit = circuit_of(name, factor=1)
    model = SharedParameterModel.of_circuit(circuit)
    expected = truth(circuit)
    for members, a in zip(model.structure.detector_sets, model.set_matrix @ model.guess, strict=True):
        assert a == pytest.approx(expected[members], rel=0.03)


@pytest.mark.parametrize(
    ("text", "p"),
    [
        ("R 0\nX_ERROR({}) 0\nM 0\nDETECTOR rec[-1]", 0.9),
        ("R 0\nX_ERROR({}) 0\nM 0\nDETECTOR rec[-1]", 0.999),
        ("R 0\nM({}) 0\nDETECTOR rec[-1]", 0.7),
        ("R 0 1\nE({}) X0 X1\nM 0 1\nDETECTOR rec[-1]\nDETECTOR rec[-2]", 0.8),
        ("MPAD({}) 0\nDETECTOR rec[-1]", 0.6),
        ("R 0\nPAULI_CHANNEL_1({}, 0.01, 0.02) 0\nM 0\nDETECTOR rec[-1]", 0.9),
    ],
)
def test_circuits_with_rates_above_one_half_are_learned(text: str, p: float) -> None:
    circuit = stim.Circuit(text.format(p))
    model = SharedParameterModel.of_circuit(circuit)
    shots = circuit.compile_detector_sampler(seed=1).sample(SHOTS, bit_packed=True)
    fit = learn(Moments.from_shots(model.structure.subsets, shots), model)
    (learned,) = fit.p
    assert learned == pytest.approx(model.structure.given[0], abs=max(5 * fit.sigma[0], 5e-3))


def test_a_chain_ends_where_the_next_one_begins() -> None:
    groups = NoisyGroups()
    circuit = stim.Circuit(
        "E(0.2) X0\nELSE_CORRELATED_ERROR(0.5) X1\nELSE_CORRELATED_ERROR(0.5) X2\nE(0.3) X3 Z4"
    )
    steps = [step for step in circuit if isinstance(step, stim.CircuitInstruction)]
    found = [group for step in steps for group in groups.of(step)]
    assert [group.rates for group in found] == [(0.2,), (0.4,), (0.2,), (0.3,)]
    assert [group.faults for group in found] == [("X",), ("X",), ("X",), ("XZ",)]
    assert [group.qubits for group in found] == [(0,), (1,), (2,), (3, 4)]


def test_heralds_that_are_in_no_detector_are_no_mechanism() -> None:
    """A herald that nobody looks at leaves Pauli noise."""
    circuit = stim.Circuit(BELL.format("HERALDED_ERASE(0.04) 0") + FLIPPED)
    model = SharedParameterModel.of_circuit(circuit)
    assert set(model.structure.detector_sets) == {(0,), (1,), (0, 1)}


def test_what_cannot_be_decomposed_stays_whole_and_is_named() -> None:
    circuit = stim.Circuit(
        "R 0 1 2\nHERALDED_PAULI_CHANNEL_1(0, 0.02, 0, 0) 0\nCX 0 1 0 2\nM 0 1 2"
        "\nDETECTOR rec[-4]\nDETECTOR rec[-3]\nDETECTOR rec[-2]\nDETECTOR rec[-1]"
    )
    model = SharedParameterModel.of_circuit(circuit)
    shots = circuit.compile_detector_sampler(seed=1).sample(20_000, bit_packed=True)
    fit = learn(Moments.from_shots(model.structure.subsets, shots), model)
    assert abs(fit.p[0] - 0.02) < 4 * fit.sigma[0]
    assert "1 mechanism is not decomposed into edges" in fit.notes[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("R 0\nM 0\nDETECTOR rec[-1]", "no noise"),
        ("R 0\nI_ERROR(0.1) 0\nM 0\nDETECTOR rec[-1]", "no noise"),
        ("H 0\nM(0.1) 0\nDETECTOR rec[-1]", "non-deterministic detectors. D0"),
    ],
)
def test_circuits_that_teach_nothing_are_refused_in_one_line(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as error:
        SharedParameterModel.of_circuit(stim.Circuit(text))
    assert "\n" not in str(error.value)
