"""`qecpipe stream` in process; through a service: tests/decoder_service/server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import stim

from qec import depolarizing, memory_circuit

from ..conftest import Refused, RunCli


@pytest.fixture
def circuit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stim.Circuit:
    monkeypatch.chdir(tmp_path)
    circuit = memory_circuit(distance=3, rounds=6, basis="x", noise=depolarizing(0.01))
    circuit.to_file("c.stim")
    return circuit


COMMAND = ("stream", "--in-process", "--circuit", "c.stim", "--commit", "2", "--out", "out")


def test_the_report_says_what_was_decoded_where_and_how_late(circuit: stim.Circuit, run_cli: RunCli) -> None:
    flags = (
        "--rounds",
        60,
        "--period-us",
        500,
        "--rounds-per-frame",
        2,
        "--streams",
        2,
        "--report",
        "r/r.json",
    )
    code, out, err = run_cli(*COMMAND, *flags, "--report", "r/r.json")
    assert (code, err) == (0, "")
    assert "written: out/commit.hgrm, out/result.hgrm, out/service.hgrm, out/latency.png, r/r.json" in out
    report = json.loads(Path("r/r.json").read_text())
    assert report["decoder"] == {
        "where": "in process",
        "name": "pymatching",
        "predecoder": None,
        "weights": None,
        "model": report["decoder"]["model"],
        "commit": 2,
        "buffer": 2,
        "mode": "sliding",
        "gap": False,
    }
    assert (report["rounds"], report["streams"], report["rounds_per_frame"]) == (2 * 63, 2, 2)
    assert report["rounds_per_shot"] == 7
    assert report["results"] == {"expected": 18, "received": 18, "lost": 0, "doubled": 0, "wrong": 0}
    assert report["commits"]["expected"] == report["commits"]["received"] > 18
    assert report["backlog"]["end"] == 0
    assert len(report["commit_latency_us_by_stream"]) == 2
    assert list(report["latency_us"]["commit"]) == ["p50", "p90", "p99", "p99.9", "max"]
    assert {"processor", "cores", "versions"} <= report["machine"].keys()


def test_gaps_are_reported_and_refused_where_there_are_none(circuit: stim.Circuit, run_cli: RunCli) -> None:
    flags = ("--gap", "--rounds", 70, "--report", "r.json", "--max-lag", 30)
    assert run_cli(*COMMAND, *flags, "--decoder", "pymatching-correlated")[0] == 0
    gaps = json.loads(Path("r.json").read_text())["gaps_nats"]
    assert gaps["results"] == 10
    assert 0 < gaps["min"] <= gaps["p50"]
    code, _, err = run_cli(*COMMAND, *flags)
    assert code != 0
    assert "gap=True with decoder='pymatching', which has no gap" in err


def test_the_network_is_named_by_its_weights(circuit: stim.Circuit, run_cli: RunCli) -> None:
    flags = ("--rounds", 7, "--predecoder", "realtime", "--report", "r.json", "--max-lag", 30)
    assert run_cli(*COMMAND, *flags)[0] == 0
    decoder = json.loads(Path("r.json").read_text())["decoder"]
    assert decoder["predecoder"] == "realtime"
    assert len(decoder["weights"]) == 64


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:-1", "device 'cuda:-1' is unknown; use 'auto', 'cpu', 'cuda' or one GPU: 'cuda:0'"),
        ("cuda:97", "device 'cuda:97' is not usable: "),
    ],
)
def test_a_device_that_is_not_there_is_refused_without_a_network_too(
    circuit: stim.Circuit, refused: Refused, device: str, said: str
) -> None:
    err = refused(*COMMAND, "--device", device)
    assert said in err


def test_an_overloaded_decoder_is_said_so_and_exit_code_1(circuit: stim.Circuit, run_cli: RunCli) -> None:
    flags = ("--rounds", 50_000, "--period-us", 0.01, "--max-lag", 0.002, "--report", "r.json")
    code, out, _ = run_cli(*COMMAND, *flags)
    assert code == 1
    assert "overloaded: at 0.01 µs a round, rounds were overdue by more than 0.002 s" in out
    report = json.loads(Path("r.json").read_text())
    assert report["overloaded"] is True
    assert report["backlog"]["bounded"] is False
    assert report["commits"]["lost"] == 0


def test_a_report_does_not_replace_the_circuit(circuit: stim.Circuit, run_cli: RunCli) -> None:
    code, _, err = run_cli(*COMMAND, "--report", "c.stim")
    assert code == 2
    assert "which would be lost" in err
