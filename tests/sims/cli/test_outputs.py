"""Where results may go, for every verb: through links and devices, never in place of an input."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
import sinter
import stim

from ..conftest import Refused, RunCli

CIRCUIT = stim.Circuit.generated(
    "repetition_code:memory", distance=3, rounds=2, before_round_data_depolarization=0.1
)
SHOTS = 128


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of a measurement, under several names each."""
    monkeypatch.chdir(tmp_path)
    CIRCUIT.to_file("c.stim")
    CIRCUIT.detector_error_model(decompose_errors=True).to_file("c.dem")
    detections, flips = CIRCUIT.compile_detector_sampler(seed=1).sample(SHOTS, separate_observables=True)
    stim.write_shot_data_file(data=detections, path="s.b8", format="b8", num_detectors=CIRCUIT.num_detectors)
    stim.write_shot_data_file(data=flips, path="o.01", format="01", num_observables=1)
    Path("soft.b8").symlink_to("s.b8")
    Path("hard.b8").hardlink_to("s.b8")
    metadata = {"d": 3, "rounds": 3, "p": 0.01, "basis": "x"}
    row = sinter.TaskStats(
        strong_id="a" * 64, decoder="pymatching", json_metadata=metadata, shots=100, errors=10
    )
    Path("r.csv").write_text(f"{sinter.CSV_HEADER}\n{row.to_csv_line()}\n")
    Path("train.toml").write_text(
        'name = "x"\n[[tasks]]\ndem = "c.dem"\n[data]\nnetwork = "in.safetensors"\n'
    )
    Path("in.safetensors").write_bytes(b"weights")
    return tmp_path


def _contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


DECODE = ("decode", "--circuit", "c.stim", "--dem", "c.dem", "--shots", "s.b8", "--obs", "o.01")
LEARN = ("learn-noise", "--circuit", "c.stim", "--shots", "s.b8")


@pytest.mark.parametrize(
    "command",
    [
        *((*DECODE, "--out-format", "01", "--out", name) for name in ("s.b8", "soft.b8", "hard.b8", "o.01")),
        *((*DECODE, "--out-format", "01", "--out", name) for name in ("c.stim", "c.dem", "../{here}/c.dem")),
        (*DECODE, "--weights", "in.safetensors", "--out-format", "01", "--out", "in.safetensors"),
        ("learn-noise", "--circuit", "out/learned.dem", "--shots", "s.b8", "--out", "out"),
        ("learn-noise", "--circuit", "c.stim", "--shots", "out/drift.png", "--format", "b8", "--out", "out"),
        ("plot", "out/ler_vs_p.png", "--out", "out"),
        ("sweep", "--weights", "out/results.csv", "--out", "out"),
        ("latency", "--weights", "out/latency.parquet", "--out", "out"),
        ("stream", "--circuit", "out/commit.hgrm", "--out", "out"),
        ("train", "--config", "train.toml", "--out", "in.safetensors", "--work-dir", "w"),
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_no_verb_replaces_an_input(command: tuple[str, ...], folder: Path, refused: Refused) -> None:
    Path("out").mkdir()
    for name, source in (
        ("learned.dem", "c.stim"),
        ("drift.png", "s.b8"),
        ("ler_vs_p.png", "r.csv"),
        ("results.csv", "r.csv"),
        ("latency.parquet", "s.b8"),
        ("commit.hgrm", "c.stim"),
    ):
        (Path("out") / name).symlink_to(folder / source)
    before = _contents()
    err = refused(*(part.format(here=folder.name) for part in command))
    assert "which would be lost" in err
    assert _contents() == before


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ((*DECODE, "--out", "d.01"), "--out d.01 is a folder; give a file"),
        ((*DECODE, "--out", "c.stim/x.01"), "c.stim is a file; give a folder"),
        ((*DECODE, "--out", "/dev/full", "--out-format", "b8"), "/dev/full: No space left on device"),
        ((*LEARN, "--out", "c.stim"), "--out c.stim is a file; give a folder"),
        ((*LEARN, "--out", "/dev/null"), "--out /dev/null is a file; give a folder"),
        (("plot", "r.csv", "--out", "/dev/null"), "--out /dev/null is a file; give a folder"),
        (("sweep", "--out", "c.stim"), "--out c.stim is a file; give a folder"),
        (("latency", "--out", "c.stim"), "--out c.stim is a file; give a folder"),
        (("stream", "--circuit", "c.stim", "--out", "s.b8"), "--out s.b8 is a file; give a folder"),
        (("serve", "--state", "s.b8"), "--state s.b8 is a file; give a folder"),
        (("serve", "--state", "s.b8/state"), "s.b8: Not a directory"),
        (("train", "--config", "train.toml", "--out", "/dev/null"), "has to end with .safetensors"),
        (("train", "--config", "train.toml", "--work-dir", "s.b8"), "--work-dir s.b8 is a file"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_hold_results_is_said_before_any_work(
    command: tuple[str, ...], named: str, folder: Path, refused: Refused
) -> None:
    Path("d.01").mkdir()
    before = _contents()
    err = refused(*command)
    assert named in err
    assert _contents() == before
    assert Path("/dev/null").is_char_device()


def test_predictions_go_through_links_and_devices(folder: Path, run_cli: RunCli) -> None:
    assert run_cli(*DECODE, "--out", "plain.01")[0] == 0
    expected = Path("plain.01").read_bytes()
    Path("disk").mkdir()
    Path("link.01").symlink_to("disk/there.01")
    assert run_cli(*DECODE, "--out", "link.01")[0] == 0
    assert Path("link.01").is_symlink()
    assert Path("disk/there.01").read_bytes() == expected
    os.mkfifo("pipe.01")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe.01").read_bytes()))
    reader.start()
    assert run_cli(*DECODE, "--out", "pipe.01")[0] == 0
    reader.join(timeout=10)
    assert received == [expected]
    assert run_cli(*DECODE, "--out", "/dev/null", "--out-format", "01")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_plots_go_through_links(folder: Path, run_cli: RunCli) -> None:
    Path("plots").mkdir()
    Path("elsewhere").mkdir()
    Path("plots/ler_vs_p.png").symlink_to("../elsewhere/p.png")
    assert run_cli("plot", "r.csv", "--out", "plots")[0] == 0
    assert Path("plots/ler_vs_p.png").is_symlink()
    assert Path("elsewhere/p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["file", "socket in use"])
def test_serve_leaves_what_is_at_its_socket(kind: str, folder: Path, run_cli: RunCli) -> None:
    """A server that may not listen there must not clear the place when it ends either."""
    if kind == "file":
        code, _, err = run_cli("serve", "--socket", "s.b8", "--http", "None")
        assert "s.b8 exists and is not a socket" in err
        assert Path("s.b8").read_bytes()
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind("live.sock")
            other.listen(1)
            code, _, err = run_cli("serve", "--socket", "live.sock", "--http", "None")
            assert "a server listens on live.sock already" in err
            assert Path("live.sock").is_socket()
    assert code == 2


def test_a_full_disk_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that does not fit is taken back, so that the sweep can be resumed."""
    from sims.sweeps.results_csv import ResultsWriter, read_results

    stats = sinter.TaskStats(strong_id="a" * 64, decoder="x", json_metadata={"d": 3}, shots=5)
    path = tmp_path / "results.csv"
    with ResultsWriter(path) as results:
        results.append(stats)
        real = results._file

        class Full:
            tell, truncate, seekable, close = real.tell, real.truncate, real.seekable, real.close

            @staticmethod
            def write(data: bytes) -> int:
                if len(data) < 50:
                    raise OSError(28, "No space left on device")
                return real.write(data[:-49])

        monkeypatch.setattr(results, "_file", Full)
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            results.append(stats)
    assert [one.shots for one in read_results(path).values()] == [5]
