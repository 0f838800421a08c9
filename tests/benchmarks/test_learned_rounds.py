"""The benchmark of joint learning reads folders named as Google's, and decodes nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from qec import depolarizing, memory_circuit, write_shots
from scripts.benchmarks.noise_learning import rounds

SHOTS = 4_000


def _record(folder: Path, *, count: int) -> None:
    folder.mkdir(parents=True)
    guess, device = (memory_circuit(distance=3, rounds=count, noise=depolarizing(p)) for p in (0.005, 0.01))
    guess.to_file(folder / "circuit_noisy.stim")
    detections, flips = device.compile_detector_sampler(seed=count).sample(
        SHOTS, separate_observables=True, bit_packed=True
    )
    write_shots(folder / "detection_events.b8", detections, format="b8", num_detectors=device.num_detectors)
    write_shots(folder / "obs_flips_actual.01", flips, format="01", num_observables=1)
    device.detector_error_model(decompose_errors=True).to_file(folder / "pij_from_even_for_odd.dem")


def test_a_second_run_decodes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (3, 4, 6):
        _record(tmp_path / "data" / "d3" / f"r{count:02}", count=count)
    flags = ["--out", str(tmp_path / "out"), "--data", str(tmp_path / "data"), "--patches", "d3"]
    flags += ["--learn", "3", "6", "--decode", "3", "4", "6", "--results", str(tmp_path / "results")]
    monkeypatch.setattr("sys.argv", ["rounds", *flags])
    rounds.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| d3")]
    assert [line.split(" | ")[1:3] for line in table] == [
        ["3", "yes"],
        ["4", "no"],
        ["6", "yes"],
        ["sum", "yes"],
    ]
    monkeypatch.setattr(rounds, "make_decoder", lambda *_: pytest.fail("nothing is left to decode"))
    rounds.main()
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("| d3")] == table
    assert table[0] in (tmp_path / "results" / "noise_learning.md").read_text()
    errors = [int(cell.replace(",", "")) for cell in table[1].split(" | ")[4:8]]
    assert max(errors) < 1.15 * min(errors)  # the truth, under the name of Google's DEM, among them
    monkeypatch.setattr("sys.argv", ["rounds", *flags, "--patches", "d9"])
    with pytest.raises(SystemExit, match="has no folder d9"):
        rounds.main()
