"""The accuracy tables: circuits, shots that count for many, and decoders paired on the same ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import stim

from predecoder import ShortExperimentWarning
from qec import CircuitNoise, DecodingProblem, memory_circuit, si1000
from scripts.benchmarks.accuracy import neural, summary, table
from scripts.benchmarks.accuracy.cz_gates import si1000_cz_circuit
from scripts.benchmarks.accuracy.selection import Counted
from scripts.benchmarks.accuracy.wrong_shots import Paired, WrongShots, WrongShotsFile, paired


@pytest.mark.parametrize("basis", ["x", "z"])
def test_circuits_of_cz_gates_are_the_same_memory(basis) -> None:
    """Detectors never fire without noise, and as many faults as the distance are undetected."""
    ideal = memory_circuit(distance=3, rounds=3, basis=basis, noise=CircuitNoise()).flattened()
    quiet = si1000_cz_circuit(distance=3, rounds=3, basis=basis, p=0)
    fired = np.asarray(quiet.compile_detector_sampler(seed=1).sample(64, append_observables=True))
    assert not fired.any()
    noisy = si1000_cz_circuit(distance=3, rounds=3, basis=basis, p=0.002)
    assert noisy.get_detector_coordinates() == ideal.get_detector_coordinates()
    assert len(noisy.shortest_graphlike_error()) == 3
    gates = {instruction.name for instruction in noisy}
    assert gates & {"R", "H", "CZ", "M", "RX", "MX", "CX", "MR", "X", "S"} == {"R", "H", "CZ", "M"}
    dem = noisy.detector_error_model(decompose_errors=True)
    problem = DecodingProblem.from_dem(dem)
    same = DecodingProblem.from_circuit(
        memory_circuit(distance=3, rounds=3, basis=basis, noise=si1000(0.002))
    )
    np.testing.assert_array_equal(problem.layout.voxels, same.layout.voxels)
    np.testing.assert_array_equal(problem.moves.ends, same.moves.ends)
    with pytest.raises(ValueError, match=r"p=0.2 is outside"):
        si1000_cz_circuit(distance=3, rounds=3, basis=basis, p=0.2)


def test_every_layer_of_a_cz_circuit_has_the_noise_of_si1000() -> None:
    """All qubits have one channel in every layer: that of its gate, or of waiting for it."""
    p = 0.001
    rates = {"R": 2 * p, "H": p / 10, "CZ": p}
    layer: dict[str, list[int]] = {}
    noise: dict[int, list[float]] = {}
    seen = set()
    for instruction in si1000_cz_circuit(distance=3, rounds=2, basis="x", p=p):
        assert isinstance(instruction, stim.CircuitInstruction)
        name, targets = instruction.name, [t.value for t in instruction.targets_copy()]
        if name in (*rates, "M"):
            layer[name] = layer.get(name, []) + targets
            if name == "M":
                assert instruction.gate_args_copy() == pytest.approx([5 * p])
        elif name in ("X_ERROR", "DEPOLARIZE1", "DEPOLARIZE2"):
            for q in targets:
                noise.setdefault(q, []).append(instruction.gate_args_copy()[0])
        elif name == "TICK":
            (gate,) = layer
            busy = set(layer[gate])
            waiting = {"R": 2 * p, "M": 2 * p, "H": p / 10, "CZ": p / 10}[gate]
            wanted = {q: [waiting] for q in range(17)} | {q: [rates.get(gate)] for q in busy}
            if gate == "M":
                wanted = {q: [waiting] for q in range(17) if q not in busy}
            assert noise == wanted
            seen.add(gate)
            layer, noise = {}, {}
    assert seen == {"R", "H", "CZ", "M"}


def test_others_count_for_those_that_are_not_decoded() -> None:
    counted = Counted(1000, 200, 40) + Counted(1000, 180, 42)
    assert counted == Counted(2000, 380, 82)
    weight = 1620 / 82
    assert counted.estimate((30, 2)) == pytest.approx(30 + 2 * weight)
    assert counted.variance((30, 2)) == pytest.approx(30 + 2 * weight**2)
    assert Counted(50, 50, 0).estimate((7, 0)) == 7
    for wrong in ((10, 5, 0), (10, 5, 6), (10, 11, 0)):
        with pytest.raises(ValueError, match="does not decode a part"):
            Counted(*wrong)


def test_decoders_that_ran_at_different_times_are_paired(tmp_path: Path) -> None:
    counted = Counted(20, 3, 2)
    one = WrongShots(counted, np.array([True, True, False, False, True]))
    other = WrongShots(counted, np.array([True, False, False, True, True]))
    WrongShotsFile(tmp_path / "chunks.jsonl").add({"decoder": "one", "number": 0}, one)
    with (tmp_path / "chunks.jsonl").open("a") as file:
        file.write('{"chunk": {"deco')  # by a run that was killed
    WrongShotsFile(tmp_path / "chunks.jsonl").add({"decoder": "other", "number": 0}, other)
    log = WrongShotsFile(tmp_path / "chunks.jsonl")
    assert log.get({"decoder": "one", "number": 1}) is None
    found = [log.get({"number": 0, "decoder": name}) for name in ("one", "other")]
    assert found[0] is not None
    assert found[1] is not None
    pairs = paired(found[0], found[1])
    assert pairs == Paired((2, 1), (1, 2), (1, 0), (0, 1))
    assert pairs + pairs == Paired((4, 2), (2, 4), (2, 0), (0, 2))
    with pytest.raises(ValueError, match="not the same shots"):
        paired(found[0], WrongShots(Counted(21, 3, 2), other.wrong))


def test_neural_decoders_are_paired_with_correlated_matching_and_cells_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are plain matching, they err alike; a second run has the counts and samples nothing."""
    flags = ["--weights", "realtime-matching", "realtime-matching+fast-matching"]
    flags += ["--distance", "3", "--basis", "x", "--p", "0.02"]
    flags += ["--max-shots", "256", "--chunk-shots", "128", "--plain-gap", "4", "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["neural", "--out", str(tmp_path), *flags])
    with pytest.warns(ShortExperimentWarning):  # two noisy rounds
        neural.main()
    first = capsys.readouterr().out
    rows = json.loads((tmp_path / "neural.json").read_text())
    assert [row["decoder"] for row in rows] == ["neural-ensemble", "neural-matching", "neural-ensemble"]
    assert "fast-matching@" in rows[2]["policy"]
    for row in rows:
        assert row["pymatching"] == row["ours"]
        assert (row["shots"], row["precision"]) == (256, "int8")
        assert 0 < row["others"] < 256 - row["doubtful"]
        for kind in range(2):
            common = row["ours"][kind] - row["only_ours"][kind]
            assert common == row["correlated"][kind] - row["only_correlated"][kind]
    lines = (tmp_path / "chunks.jsonl").read_text()
    assert lines.count("\n") == 10  # of five decoders, two chunks each
    monkeypatch.setattr(neural.Selection, "sample", lambda *_, **__: pytest.fail("nothing is left to decode"))
    neural.main()
    assert capsys.readouterr().out == first
    assert (tmp_path / "chunks.jsonl").read_text() == lines


def test_the_table_of_policies_goes_on_and_counts_all_shots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the decoded shots, by hand: what a part counts for, and what is left of the syndrome."""
    flags = ["--weights", "realtime", "--distance", "5", "--p", "0.006", "--basis", "z", "--min-errors", "9"]
    flags += ["--policy", "consistent", "--decoder", "predecoder+pymatching", "--max-shots", "1024"]
    arguments = ["table", "--out", str(tmp_path), *flags, "--chunk-shots", "512", "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    table.main()
    first = capsys.readouterr().out
    (row,) = json.loads((tmp_path / "accuracy.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    parts = [line["counts"]["predecoder+pymatching"] for line in lines]
    for kind in ("doubtful", "others"):
        for name, total in row["counts"][kind].items():
            assert total == sum(part[kind][name] for part in parts)
    counts = table.Counts.from_dict(row["counts"])
    weight = (counts.shots - counts.doubtful.shots) / counts.others.shots
    left = counts.doubtful.residual_events + weight * counts.others.residual_events
    events = counts.doubtful.events + weight * counts.others.events
    assert counts.sdr == pytest.approx(events / left)
    assert counts.sdr > 10
    assert counts.fewest_errors >= 9 or counts.shots == 1024
    monkeypatch.setattr(table.Selection, "sample", lambda *_, **__: pytest.fail("nothing is left to decode"))
    table.main()
    assert capsys.readouterr().out == first


def test_both_bases_are_put_beside_what_is_required() -> None:
    cell = {
        "weights": "fast-matching",
        "decoder": "neural-matching",
        "precision": "int8",
        "noise": "depolarizing",
        "p": 0.006,
        "d": 5,
    }
    counts = {"shots": 2000, "doubtful": 1000, "others": 50, "only_ours": [30, 1], "only_correlated": [40, 0]}
    ensemble = {"weights": "fast-matching+accurate-matching", "decoder": "neural-ensemble"}
    rows = [
        cell | counts | {"basis": "x", "ours": [90, 1], "correlated": [100, 0]},
        cell | counts | {"basis": "z", "ours": [60, 0], "correlated": [100, 0]},
        cell | counts | {"basis": "z", "ours": [150, 0], "correlated": [150, 0], "precision": "float32"},
        cell | counts | {"basis": "x", "ours": [92, 0], "correlated": [100, 0]} | ensemble,
    ]
    ratio, low, high = summary.pooled_ratio(rows[:2])
    assert ratio == pytest.approx((90 + 20 + 60) / 200)
    spread = np.sqrt((30 + 400 + 40 + 30 + 400 + 40) / (170 * 200))
    assert (low, high) == pytest.approx((ratio * np.exp(-1.96 * spread), ratio * np.exp(1.96 * spread)))
    line, of_other_precision, of_ensemble = summary.summary(rows).splitlines()[-3:]
    assert line.startswith(
        "| fast-matching | neural-matching | int8 | depolarizing | 0.006 | 5 | x z | 170 / 200 | 0.85 ["
    )
    assert line.endswith("| 0.93: met |")
    assert "| float32 | depolarizing | 0.006 | 5 | z | 150 / 150 | 1.00 [" in of_other_precision
    assert of_other_precision.endswith("| 0.93: not met |")
    assert of_ensemble.endswith("| 0.93: met |")  # what is asked of its first network
