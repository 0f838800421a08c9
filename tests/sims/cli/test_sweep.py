"""`qecpipe sweep` end to end on small circuits: output, resuming, refusing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sinter

from sims.sweeps.results_csv import read_results

from ..conftest import Refused, RunCli

SMALL = ("sweep", "--distance", 3, "--p", 0.01, "--basis", "x", "--decoder", "pymatching", "--workers", 1)


def _shots(csv: Path) -> dict[str, int]:
    return {one.decoder: one.shots for one in read_results(csv).values()}


@pytest.mark.slow
def test_sweep_leaves_table_csv_and_plots_and_resumes(tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli(*SMALL, "--decoder", "pymatching", "fusion-blossom-absent", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "fusion-blossom-absent" in err
    assert not list(tmp_path.iterdir())

    command = (*SMALL, "--decoder", "pymatching", "pymatching-correlated", "--out", tmp_path)
    code, out, err = run_cli(*command, "--max-shots", 3000)
    assert (code, err) == (0, "")
    assert "d=3 rounds=3 p=0.01 basis=x" in out
    assert "95% Clopper-Pearson" in out
    assert "--max-shots 12000" in out
    csv = tmp_path / "results.csv"
    assert _shots(csv) == {"pymatching": 3000, "pymatching-correlated": 3000}
    plots = {"ler_vs_p.png", "ler_vs_distance.png", "ler_vs_time.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == plots

    before = csv.read_bytes()
    assert run_cli(*command, "--max-shots", 3000)[0] == 0
    assert csv.read_bytes() == before  # nothing is counted twice
    assert run_cli(*command, "--max-shots", 5000)[0] == 0
    assert _shots(csv) == {"pymatching": 5000, "pymatching-correlated": 5000}
    assert csv.read_bytes().startswith(before)


def test_no_resume_refuses_a_csv_that_exists(tmp_path: Path, run_cli: RunCli) -> None:
    csv = tmp_path / "results.csv"
    csv.write_text("precious\n")
    code, _, err = run_cli(*SMALL, "--no-resume", "--out", tmp_path)
    assert code == 2
    assert f"{csv} exists and --no-resume must not overwrite it" in err
    assert csv.read_text() == "precious\n"


def test_truncated_csv_is_named_and_left_alone(tmp_path: Path, refused: Refused) -> None:
    csv = tmp_path / "results.csv"
    csv.write_text(f"{sinter.CSV_HEADER}\n       100,         3,")
    err = refused(*SMALL, "--out", tmp_path)
    assert f"{csv}, line 2: the row is cut off" in err
    assert "sed -i '2d'" in err
    assert csv.read_text().endswith("3,")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--decoder",), "--decoder has no value"),
        (("--distance", 1), "1"),
        (("--p", 0.5), "0.5"),
        (("--p", -0.1), "-0.1"),
        (("--rounds", 0), "0"),
        (("--noise", "loud"), "'loud'"),
        (("--noise", "pyproject.toml"), "--p 0.01 has no meaning with --noise pyproject.toml"),
        (("--noise", "absent.toml"), "absent.toml: No such file or directory; check the path"),
        (("--decoder", "pymatchin"), "pymatching"),
        (("--max-shots", 0), "max_shots is 0"),
        (("--max-errors", 0), "max_errors is 0"),
        (("--workers", 0), "--workers is 0"),
        (("--decoder", "predecoder+pymatching", "--weights", "absent.safetensors"), "absent.safetensors"),
        (("--decoder", "predecoder+pymatching", "--weights", __file__), Path(__file__).name),
    ],
)
def test_bad_values_are_one_line_and_leave_no_file(
    flags: tuple[object, ...], named: str, tmp_path: Path, refused: Refused
) -> None:
    out = tmp_path / "out"
    err = refused(*SMALL, *flags, "--out", out)
    assert named in err
    assert not out.exists()


@pytest.mark.slow
def test_two_weights_never_share_a_row(
    tmp_path: Path, two_weights: tuple[Path, Path], run_cli: RunCli
) -> None:
    for weights in two_weights:
        command = (*SMALL, "--decoder", "predecoder+pymatching", "--policy", "threshold")
        command += ("--weights", weights, "--max-shots", 100)
        code, _, err = run_cli(*command, "--device", "cpu", "--out", tmp_path)
        assert (code, err) == (0, "")
    rows = read_results(tmp_path / "results.csv").values()
    assert [one.shots for one in rows] == [100, 100]
    assert {one.json_metadata["weights"] for one in rows} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in two_weights
    }
    for one in rows:
        assert one.custom_counts["residual_events"] > 0
        assert one.custom_counts["predecode_ns"] > 0


def _spawn(out: Path, shots: int) -> subprocess.Popen[bytes]:
    command = ["sweep", "--distance", "5", "--p", "0.008", "--basis", "x", "--max-shots", str(shots)]
    command += ["--decoder", "pymatching", "pymatching-correlated", "--workers", "2", "--out", str(out)]
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from sims.cli import main; sys.exit(main(sys.argv[1:]))",
            *command,
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _processes_of_session(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_sigkill_and_rerun_gives_the_totals_of_one_run(tmp_path: Path) -> None:
    shots = 60_000
    csv = tmp_path / "results.csv"
    victim = _spawn(tmp_path, shots)
    try:
        while victim.poll() is None and (not csv.exists() or csv.read_text().count("\n") < 4):
            time.sleep(0.01)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        kept = csv.read_bytes()
        deadline = time.monotonic() + 20
        while _processes_of_session(victim.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _processes_of_session(victim.pid)  # workers do not outlive the sweep
    finally:
        for orphan in _processes_of_session(victim.pid):
            os.kill(orphan, signal.SIGKILL)
    assert 0 < sum(_shots(csv).values()) < 2 * shots
    assert _spawn(tmp_path, shots).wait(timeout=120) == 0
    assert csv.read_bytes().startswith(kept)
    assert _shots(csv) == {"pymatching": shots, "pymatching-correlated": shots}
    for one in read_results(csv).values():
        assert one.custom_counts["detectors"] == shots * 120
        assert 0.02 < one.errors / shots < 0.09


@pytest.mark.slow
def test_a_second_sweep_on_the_same_csv_is_refused(tmp_path: Path, run_cli: RunCli) -> None:
    first = _spawn(tmp_path, 10**7)
    try:
        csv = tmp_path / "results.csv"
        while first.poll() is None and not csv.exists():
            time.sleep(0.01)
        code, _, err = run_cli(*SMALL, "--out", tmp_path)
    finally:
        os.killpg(first.pid, signal.SIGINT)
        exit_code = first.wait(timeout=30)
    assert code == 2
    assert "is being written by another sweep" in err
    assert exit_code == 130


def test_a_warning_is_one_line_of_a_run_whichever_processes_find_it(tmp_path: Path) -> None:
    names = ("pymatching", "predecoder+pymatching", "neural-matching")
    flags = ("--distance", "3", "--rounds", "1", "--basis", "x", "--p", "0.01", "--max-shots", "100")
    more = ("--workers", "2", "--weights", "fast", "--out", str(tmp_path), "--decoder", *names)
    script = "import sys; from sims.cli import main\nif __name__ == '__main__': sys.exit(main(sys.argv[1:]))"
    entry = tmp_path / "entry.py"
    entry.write_text(script)
    run = subprocess.run(
        [sys.executable, str(entry), "sweep", *flags, *more],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert run.returncode == 0
    told = [line for line in run.stderr.splitlines() if not line.startswith("device auto: the CPU, as ")]
    assert told == [
        "qecpipe sweep: decoding without the network: it helps from 3 noisy rounds on, and here are 1"
    ]
