"""What a new user does wrong, on every verb: one line that names the value or file and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import sinter
import stim

from ..conftest import Refused, RunCli

CIRCUIT = stim.Circuit.generated(
    "surface_code:rotated_memory_z", distance=3, rounds=2, after_clifford_depolarization=0.01
)
NOT_DETERMINISTIC = """
    R 0
    H 0
    X_ERROR(0.1) 0
    M 0
    DETECTOR(0, 0, 0) rec[-1]
    OBSERVABLE_INCLUDE(0) rec[-1]
"""
METADATA = {"d": 3, "rounds": 3, "p": 0.01, "basis": "x"}


def _csv(name: str, metadata: object, **counts: int) -> None:
    row = sinter.TaskStats(
        strong_id="a" * 64, decoder="pymatching", json_metadata=metadata, **{"shots": 100, **counts}
    )
    Path(name).write_text(f"{sinter.CSV_HEADER}\n{row.to_csv_line()}\n")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    CIRCUIT.to_file("c.stim")
    text = Path("c.stim").read_text()
    Path("bom.stim").write_text(text, encoding="utf-8-sig")
    Path("utf16.stim").write_text(text, encoding="utf-16")
    Path("latin.stim").write_text(f"# café\n{text}", encoding="latin-1")
    Path("nondeterministic.stim").write_text(NOT_DETERMINISTIC)
    Path("latin.toml").write_text("name = 'café'\n", encoding="latin-1")
    for name in ("empty.stim", "empty.dem", "empty.b8", "empty.toml", "empty.csv", "empty.pem"):
        Path(name).touch()
    Path("folder").mkdir()
    detections, _ = CIRCUIT.compile_detector_sampler(seed=1).sample(100, separate_observables=True)
    stim.write_shot_data_file(data=detections, path="s.b8", format="b8", num_detectors=CIRCUIT.num_detectors)
    stim.write_shot_data_file(
        data=detections[:1], path="one.b8", format="b8", num_detectors=CIRCUIT.num_detectors
    )
    _csv("list.csv", [1, 2])
    _csv("null.csv", None)
    _csv("text.csv", METADATA | {"d": "three"})
    _csv("zero.csv", METADATA | {"rounds": 0})
    _csv("several.csv", METADATA | {"noise": ["a", "b"]})
    _csv("good.csv", METADATA, errors=10, discards=50)
    good = Path("good.csv").read_text()
    Path("negative.csv").write_text(good.replace("       100,", "      -100,"))
    Path("latin.csv").write_text(f"{sinter.CSV_HEADER}\ncafé\n", encoding="latin-1")
    Path("bom.csv").write_text(good, encoding="utf-8-sig")
    return tmp_path


SWEEP = ("sweep", "--distance", "3", "--out", "out")
LATENCY = ("latency", "--distance", "3", "--out", "out")
DECODE = ("decode", "--shots", "s.b8", "--circuit")
LEARN = ("learn-noise", "--shots", "s.b8", "--out", "out", "--circuit")
STREAM = ("stream", "--out", "out", "--circuit")
SERVE = ("serve", "--socket", "out")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ((*SWEEP, "--workers", "-1"), "--workers is -1; it must be at least 1"),
        ((*SWEEP, "--workers", "100000"), "--workers is 100000; "),
        ((*SWEEP, "--p", "nan"), "p=nan"),
        ((*SWEEP, "--noise", "empty.toml"), "empty.toml: missing prep_x"),
        ((*SWEEP, "--noise", "latin.toml"), "latin.toml is not a TOML file"),
        ((*SWEEP, "--noise", "folder"), "unknown noise 'folder'"),
        ((*SWEEP, "--weights", "folder"), "weights 'folder'"),
        ((*SWEEP, "--device", "cuda:-1"), "device 'cuda:-1' is unknown; use 'auto', 'cpu', 'cuda' or"),
        ((*LATENCY, "--device", "gpu"), "device 'gpu' is unknown; use"),
        ((*DECODE, "c.stim", "--device", "cuda:97"), "device 'cuda:97' is not usable: "),
        ((*LATENCY, "--threads", "0"), "--threads is 0; it must be at least 1"),
        ((*LATENCY, "--threads", "-2"), "--threads is -2; it must be at least 1"),
        ((*LATENCY, "--threads", "1000000"), "--threads is 1000000; "),
        ((*LATENCY, "--seconds", "nan"), "seconds is nan"),
        ((*LATENCY, "--seed", "-1"), "--seed is -1; a seed is an integer from 0"),
        ((*LATENCY, "--seed", str(2**64)), f"--seed is {2**64}; a seed is"),
        ((*DECODE, "latin.stim"), "latin.stim is not a text file in UTF-8 (byte 5 is 0xe9)"),
        ((*DECODE, "nondeterministic.stim"), "nondeterministic.stim gives no detector error model: "),
        ((*DECODE, "empty.stim"), "empty.stim has 0 detectors"),
        ((*DECODE, "folder"), "folder: Is a directory; check the path"),
        (("decode", "--shots", "s.b8", "--dem", "empty.dem"), "empty.dem has 0 detectors"),
        (("decode", "--shots", "empty.b8", "--circuit", "c.stim"), "empty.b8: the shot file is empty"),
        ((*LEARN, "nondeterministic.stim"), "The circuit contains non-deterministic"),
        ((*LEARN, "latin.stim"), "latin.stim is not a text file"),
        (("learn-noise", "--circuit", "c.stim", "--out", "out", "--shots", "one.b8"), "too few shots"),
        (("learn-noise", "--circuit", "c.stim", "--out", "out", "--shots"), "--shots has no value"),
        (("plot", "list.csv"), "has json_metadata [1, 2], which is no object"),
        (("plot", "null.csv"), "has json_metadata null, which is no object"),
        (("plot", "text.csv"), "has d='three' in json_metadata, which is not a whole number"),
        (("plot", "zero.csv"), "has rounds=0 in json_metadata"),
        (("plot", "several.csv"), "has noise=['a', 'b'] in json_metadata"),
        (("plot", "negative.csv"), "line 2: the row does not parse (-100 shots, 10 errors, 50 discards)"),
        (("plot", "latin.csv"), "latin.csv is not a text file in UTF-8"),
        (("plot", "folder"), "folder: Is a directory"),
        (("plot", "empty.csv"), "empty.csv, line 1: not a sinter results file: it is empty"),
        (("train", "--config", "empty.toml"), "empty.toml, stage 'empty' has no tasks"),
        (("train", "--config", "latin.toml"), "latin.toml: "),
        (("train", "--config", "folder"), "no configuration file folder"),
        (("train", "--config", "empty.toml", "--threads", "0"), "--threads is 0"),
        ((*STREAM, "latin.stim"), "latin.stim is not a text file"),
        ((*STREAM, "c.stim", "--period-us", "0"), "--period-us is 0; it must be above 0"),
        ((*STREAM, "c.stim", "--period-us", "nan"), "--period-us is nan; it must be above 0"),
        ((*STREAM, "c.stim", "--rounds-per-frame", "0"), "--rounds-per-frame is 0; it must be at least 1"),
        ((*STREAM, "c.stim", "--decoder", "predecoder+pymatching"), "--decoder pymatching --predecoder"),
        ((*STREAM, "c.stim", "--in-process", "--decoder", "nothing"), "nothing"),
        ((*STREAM, "c.stim", "--in-process", "--predecoder", "nothing"), "nothing"),
        ((*STREAM, "c.stim", "--predecoder", "absent.safetensors"), "absent.safetensors: No such file"),
        ((*STREAM, "c.stim", "--report", "folder"), "--report folder is a folder; give a file"),
        ((*STREAM, "c.stim", "--in-process", "--shot-rounds", "7"), "the experiment has 3 rounds"),
        ((*STREAM, "c.stim", "--rounds", "0"), "--rounds is 0"),
        ((*STREAM, "c.stim", "--commit", "0"), "--commit is 0"),
        ((*STREAM, "c.stim", "--streams", "0"), "--streams is 0"),
        ((*STREAM, "c.stim", "--tcp", "h:1", "--tls-ca", "absent"), "absent: No such file or directory"),
        ((*STREAM, "c.stim", "--tcp", "h:1", "--tls-ca", "empty.pem"), "empty.pem holds no certificates"),
        ((*SERVE, "--workers", "100000"), "--workers is 100000"),
        ((*SERVE, "--models", "0"), "--models is 0; it must be at least 1"),
        ((*SERVE, "--connections", "0"), "--connections is 0"),
        ((*SERVE, "--gap-deadline", "nan"), "--gap-deadline is nan; it must be above 0"),
        ((*SERVE, "--http", "70000"), "--http is 70000; a port is 0 to 65535"),
        ((*SERVE, "--tls-certificate", "absent", "--tls-key", "c.stim"), "absent: No such file or directory"),
        ((*SERVE, "--tls-certificate", "c.stim", "--tls-key", "c.stim"), "are no certificate and its key"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: tuple[str, ...], named: str, folder: Path, refused: Refused
) -> None:
    before = sorted(folder.rglob("*"))
    err = refused(*command)
    assert named in err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        ("decode", "--shots", "nothere"),
        ("decode", "--shots", "s.b8", "--circuit", "latin.stim", "--dem", "nothere"),
        ("decode", "--shots", "s.b8", "--circuit", "latin.stim", "--obs", "nothere"),
        ("decode", "--shots", "s.bad", "--circuit", "nothere"),
        ("learn-noise", "--circuit", "latin.stim", "--out", "c.stim", "--shots", "nothere"),
        ("learn-noise", "--circuit", "nothere", "--out", "out", "--shots"),
        (
            "learn-noise",
            "--circuit",
            "c.stim",
            "--out",
            "out",
            "--shots",
            "s.b8",
            "--sweep",
            "nothere",
            "s.b8",
        ),
        ("plot", "list.csv", "nothere", "--out", "c.stim"),
        (*SWEEP, "--noise", "nothere.toml", "--workers", "-1", "--p", "0.1"),
        (*LATENCY, "--noise", "nothere.toml", "--threads", "-1"),
        ("decode", "--shots", "s.b8", "--circuit", "latin.stim", "--weights", "nothere.safetensors"),
        (*SWEEP, "--workers", "-1", "--weights", "nothere.safetensors"),
        (*LATENCY, "--threads", "-1", "--weights", "nothere.safetensors"),
        ("stream", "--circuit", "latin.stim", "--out", "c.stim", "--tls-ca", "nothere"),
        ("stream", "--circuit", "c.stim", "--out", "c.stim", "--token-file", "nothere"),
        ("serve", "--state", "c.stim", "--tls-certificate", "nothere"),
        ("serve", "--workers", "-1", "--token-file", "nothere"),
        ("train", "--config", "nothere", "--threads", "0"),
    ],
    ids=" ".join,
)
def test_a_missing_file_is_what_is_said_first(command: tuple[str, ...], refused: Refused) -> None:
    Path("s.bad").write_bytes(Path("s.b8").read_bytes())
    err = refused(*command)
    assert "nothere" in err


@pytest.mark.parametrize("name", ["bom.stim", "utf16.stim"])
def test_a_byte_order_mark_is_no_part_of_a_circuit(name: str, run_cli: RunCli) -> None:
    assert run_cli(*DECODE, name, "--out", "with.01")[0] == 0
    assert run_cli(*DECODE, "c.stim", "--out", "without.01")[0] == 0
    assert Path("with.01").read_bytes() == Path("without.01").read_bytes()


def test_a_byte_order_mark_is_no_part_of_a_csv(run_cli: RunCli) -> None:
    code, out, _ = run_cli("plot", "bom.csv")
    assert code == 0
    assert "10/50 (50 discarded)" in out
