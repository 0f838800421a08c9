"""`qecpipe export`: a file that runs, its manifest, and what is said of input that cannot be exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import stim

from global_decoders import make_decoder
from qec import depolarizing, memory_circuit
from sims.statistics import error_rate

from ..conftest import Refused, RunCli


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_residual_file_decodes_its_own_experiment(run_cli: RunCli, two_weights: tuple[Path, Path]) -> None:
    command = ("export", "--distance", 3, "--rounds", 4, "--basis", "z", "--p", 0.02, "--shots", 300)
    code, out, err = run_cli(*command, "--weights", "fast", "--seed", 9, "--out", "a.onnx")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "written: a.onnx, a.onnx.json"
    about = json.loads(Path("a.onnx.json").read_text())
    measured = about["measured"]
    assert about["experiment"]["rounds"] == 4
    assert measured["different_shots"] == measured["unsettled_shots"] == 0
    assert measured["exported"]["errors"] == measured["engine"]["errors"] > 0

    circuit = memory_circuit(distance=3, rounds=4, basis="z", noise=depolarizing(0.02))
    detections, truth = circuit.compile_detector_sampler(seed=9).sample(300, separate_observables=True)
    session = onnxruntime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"])
    residual, flips, _ = session.run(None, {about["inputs"][0]["name"]: detections.astype(np.uint8)})
    dem = circuit.detector_error_model(decompose_errors=True, approximate_disjoint_errors=True)
    matching = make_decoder("pymatching").compile_decoder_for_dem(dem=dem)
    packed = np.packbits(residual, axis=1, bitorder="little")
    predicted = matching.decode_shots_bit_packed(bit_packed_detection_event_data=packed)
    wrong = ((predicted ^ flips) != truth).any(axis=1)
    rate = error_rate(int(wrong.sum()), 300)
    assert measured["exported"] == {
        "errors": wrong.sum(),
        "ler": rate.best,
        "low": rate.low,
        "high": rate.high,
    }


@pytest.mark.parametrize("kind", ["circuit", "dem"])
def test_the_experiment_may_be_a_file(kind: str, run_cli: RunCli, two_weights: tuple[Path, Path]) -> None:
    circuit = memory_circuit(distance=3, rounds=3, basis="x", noise=depolarizing(0.01))
    circuit.to_file("a.circuit")
    circuit.detector_error_model(decompose_errors=True).to_file("a.dem")
    command = ("export", "--weights", two_weights[0], "--layout", "cudaq", "--shots", 100)
    code, _, err = run_cli(*command, f"--{kind}", f"a.{kind}", "--precision", "int8", "--out", "a.onnx")
    assert (code, err) == (0, "")
    about = json.loads(Path("a.onnx.json").read_text())
    assert about["experiment"] == {kind: f"a.{kind}"}
    assert about["precision"] == "int8"
    assert [one["name"] for one in about["inputs"] + about["outputs"]] == ["dets", "L_and_residual_dets"]
    assert about["outputs"][0]["shape"] == ["batch", 1 + circuit.num_detectors]


@pytest.mark.parametrize("orientation", ["XV", "ZH"])
def test_cudaq_has_the_detectors_of_ising_decoding(orientation: str, run_cli: RunCli) -> None:
    command = ("export", "--weights", "fast", "--distance", 5, "--rounds", 4, "--perfect-last-round")
    command = (*command, "--orientation", orientation, "--p", 0.02, "--shots", 50)
    for layout in ("qecpipe", "cudaq"):
        assert run_cli(*command, "--layout", layout, "--out", f"{layout}.onnx")[0] == 0
    # As its exporter says: every round X, then Z; X sorted by row and column, Z by column and row.
    points = [(row, column) for row in range(6) for column in range(6)]
    x_parity = 0 if orientation[0] == "X" else 1
    x = [(r, c) for r, c in points if (r + c) % 2 == x_parity and 0 < r < 5]
    z = [(r, c) for r, c in points if (r + c) % 2 != x_parity and 0 < c < 5]
    x, z = sorted(x), sorted(z, key=lambda point: point[::-1])
    assert len(x) == len(z) == 12
    theirs = [*((q, 0) for q in x), *((q, t) for t in (1, 2, 3) for q in (*x, *z)), *((q, 4) for q in x)]

    circuit = memory_circuit(
        distance=5,
        rounds=4,
        noise=depolarizing(0.02),
        orientation=orientation,  # pyright: ignore[reportArgumentType]
        perfect_last_round=True,
    )
    coordinates = circuit.get_detector_coordinates()
    ours = {((int(y) // 2, int(x) // 2), int(t)): k for k, (x, y, t) in coordinates.items()}
    order = [ours[one] for one in theirs]
    assert sorted(order) == list(range(circuit.num_detectors)) != order
    bits = circuit.compile_detector_sampler(seed=4).sample(100).astype(np.uint8)  # pyright: ignore
    sessions = [
        onnxruntime.InferenceSession(f"{layout}.onnx", providers=["CPUExecutionProvider"])
        for layout in ("qecpipe", "cudaq")
    ]
    residual, flips, _ = sessions[0].run(None, {"detections": bits})
    (joined,) = sessions[1].run(None, {"dets": bits[:, order]})
    assert np.array_equal(joined, np.hstack([flips, residual[:, order]]))
    assert not np.array_equal(residual, bits)


EXPORT = ("export", "--shots", "10", "--out", "a.onnx")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ((*EXPORT, "--distance", "3", "--rounds", "1"), "helps from 3 noisy rounds on, and here are 1"),
        ((*EXPORT, "--distance", "3", "--p", "0"), "helps from 3 noisy rounds on, and here are 0"),
        ((*EXPORT, "--distance", "4", "--weights", "realtime"), "4 x 4 data qubits"),
        ((*EXPORT, "--distance", "1"), "distance"),
        ((*EXPORT, "--rounds", "0"), "rounds"),
        ((*EXPORT, "--p", "0.7"), "p=0.7"),
        ((*EXPORT, "--noise", "pink"), "unknown noise 'pink'"),
        ((*EXPORT, "--noise", "absent.toml"), "absent.toml: No such file"),
        ((*EXPORT, "--weights", "absent"), "weights 'absent'"),
        ((*EXPORT, "--weights", "absent.safetensors"), "absent.safetensors: No such file"),
        ((*EXPORT, "--circuit", "absent"), "absent: No such file"),
        ((*EXPORT, "--circuit", "c.stim", "--distance", "3"), "--circuit and --distance both say"),
        ((*EXPORT, "--circuit", "c.stim", "--dem", "c.stim"), "--dem and --circuit both say"),
        ((*EXPORT, "--circuit", "c.stim"), "c.stim: detector D0 has"),
        ((*EXPORT, "--dem", "c.stim"), "c.stim is not a Stim detector error model"),
        ((*EXPORT, "--cluster-steps", "0"), "--cluster-steps is 0; it must be at least 1"),
        ((*EXPORT, "--shots", "0"), "--shots is 0; it must be at least 1"),
        ((*EXPORT, "--seed", "-1"), "--seed is -1; a seed is"),
        ((*EXPORT, "--format", "torch-export", "--precision", "int8"), "use --format onnx"),
        ((*EXPORT, "--graph", "logits", "--layout", "cudaq"), "use graph 'residual'"),
        ((*EXPORT, "--out", "absent/a.onnx"), "absent/a.onnx does not exist; make it, or give another"),
        ((*EXPORT, "--out", "there.onnx"), "there.onnx exists; move it away, or give another name"),
        ((*EXPORT, "--out", "other.onnx"), "other.onnx.json exists; move it away"),
        ((*EXPORT, "--out", "."), "--out . is a folder; give a file"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: tuple[str, ...], named: str, folder: Path, refused: Refused
) -> None:
    Path("c.stim").write_text(str(stim.Circuit.generated("repetition_code:memory", distance=3, rounds=2)))
    Path("there.onnx").touch()
    Path("other.onnx.json").touch()
    before = sorted(folder.rglob("*"))
    err = refused(*command)
    assert named in err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("flag", ["--format", "--graph", "--layout", "--precision", "--basis"])
def test_an_unknown_choice_is_refused(flag: str, folder: Path, run_cli: RunCli) -> None:
    with pytest.raises(SystemExit) as stop:
        run_cli(*EXPORT, flag, "other")
    assert stop.value.code == 2
    assert not list(folder.iterdir())


def test_what_breaks_half_way_leaves_nothing(
    folder: Path, run_cli: RunCli, two_weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ValueError("the runtime refuses this graph; use another")

    monkeypatch.setattr("sims.cli.export.load_graph", breaks)
    code, _, err = run_cli(*EXPORT, "--distance", 3, "--weights", two_weights[0])
    assert code == 2
    assert "the runtime refuses this graph" in err
    assert not list(folder.iterdir())


def test_a_package_that_is_not_installed_is_named(
    folder: Path, run_cli: RunCli, two_weights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = run_cli(*EXPORT, "--distance", 3, "--weights", two_weights[0])
    assert code == 2
    assert "pip install 'qecpipe[export]'" in err
    assert not list(folder.iterdir())
