"""Circuits and tasks of a sweep."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import stim

from global_decoders import make_decoder
from qec import CircuitNoise, depolarizing, dump_noise, memory_circuit, stim_memory_circuit
from sims.decoders import NamedDecoder
from sims.sweeps.tasks import CircuitFamily, decoder_dem, sweep_tasks

FAMILY = CircuitFamily(distance=(5, 3, 3), p=(0.01, 0.002))


def test_circuits_are_those_of_qec_for_every_combination() -> None:
    circuits = list(FAMILY.circuits())
    described = [(meta["d"], meta["p"], meta["basis"], meta["rounds"]) for meta, _ in circuits]
    assert described == [(d, p, basis, d) for d in (3, 5) for p in (0.002, 0.01) for basis in "xz"]
    meta, circuit = circuits[1]
    assert meta["orientation"] == "XV"
    assert circuit == memory_circuit(
        distance=3, rounds=3, basis="z", noise=depolarizing(0.002), orientation="XV"
    )


def test_uniform_stim_is_stims_circuit() -> None:
    family = replace(FAMILY, noise="uniform-stim", distance=(3,), p=(0.01,), rounds=2, basis=("z",))
    ((meta, circuit),) = family.circuits()
    assert meta["orientation"] == "stim"
    assert circuit == stim_memory_circuit(distance=3, rounds=2, basis="z", p=0.01)


def test_perfect_last_round_is_another_circuit_and_says_so() -> None:
    family = replace(FAMILY, distance=(3,), p=(0.01,), basis=("x",), perfect_last_round=True)
    ((meta, circuit),) = family.circuits()
    assert meta["perfect_last_round"] is True
    assert circuit == memory_circuit(
        distance=3, rounds=3, basis="x", noise=depolarizing(0.01), perfect_last_round=True
    )
    with pytest.raises(ValueError, match="--perfect-last-round has no meaning"):
        list(replace(family, noise="uniform-stim").circuits())


def test_without_reset_is_another_circuit_and_says_so() -> None:
    family = replace(FAMILY, distance=(3,), p=(0.01,), basis=("x",))
    ((meta, circuit),) = replace(family, reset=False).circuits()
    assert meta["reset"] is False
    assert circuit == memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(0.01), reset=False)
    assert [{**with_reset, "reset": False} for with_reset, _ in family.circuits()] == [meta]
    with pytest.raises(ValueError, match="--no-reset has no meaning"):
        list(replace(family, noise="uniform-stim", reset=False).circuits())


@pytest.mark.parametrize("name", ["distance", "basis"])
def test_nothing_to_sweep_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"--{name} has no value"):
        list(replace(FAMILY, **{name: ()}).circuits())


def test_noise_file_names_itself_and_its_two_qubit_rate(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    rates = {field.name: 0.0 for field in fields(CircuitNoise)} | {"cnot_xx": 0.002, "cnot_zi": 0.003}
    path.write_text("".join(f"{name} = {rate}\n" for name, rate in rates.items()))
    family = CircuitFamily(distance=(3,), basis=("x",), noise=str(path))
    ((meta, _),) = family.circuits()
    assert meta["noise"].startswith("file:device.toml#")
    assert meta["p"] == pytest.approx(0.005)
    with pytest.raises(ValueError, match=r"--p 0\.1 has no meaning"):
        list(replace(family, p=(0.1,)).circuits())


def test_an_edited_noise_file_is_another_noise(tmp_path: Path) -> None:
    """With the same name and two-qubit rate, the summary would compare decoders on different circuits."""
    path = tmp_path / "device.toml"
    family = CircuitFamily(distance=(3,), basis=("x",), noise=str(path))
    names = []
    for idle in (0.001, 0.002, 0.001):
        dump_noise(CircuitNoise(cnot_xx=0.005, idle_cnot_z=idle), path)
        ((meta, _),) = family.circuits()
        assert meta["p"] == 0.005
        names.append(meta["noise"])
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize("key", ["weights", "device", "policy", "precision"])
def test_what_identifies_a_network_identifies_its_tasks(key: str) -> None:
    named = NamedDecoder("predecoder+any", make_decoder("pymatching"), weights="a" * 64, device="cpu")
    family = replace(FAMILY, distance=(3,), p=(0.01,), basis=("x",))
    (one,) = sweep_tasks(family, [named])
    (two,) = sweep_tasks(family, [replace(named, **{key: "other"})])
    (again,) = sweep_tasks(family, [named])
    assert one.strong_id() == again.strong_id() != two.strong_id()


def test_dem_of_a_circuit_with_disjoint_channels() -> None:
    ((_, circuit),) = replace(FAMILY, distance=(3,), p=(0.01,), basis=("x",)).circuits()
    assert decoder_dem(circuit).num_detectors == circuit.num_detectors


def test_dem_of_a_color_code_keeps_its_hyperedges() -> None:
    circuit = stim.Circuit.generated(
        "color_code:memory_xyz", distance=5, rounds=5, after_clifford_depolarization=0.01
    )
    assert decoder_dem(circuit) == circuit.detector_error_model()
