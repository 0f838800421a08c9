"""`qecpipe fine-tune`: what is wrong with a folder is said before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import RunCli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d3").mkdir()
    for name in ("circuit_noisy.stim", "detection_events.b8", "obs_flips_actual.01"):
        (tmp_path / "d3" / name).touch()
    return tmp_path / "d3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "d5"], "--data d5 is no folder; give folders of circuit_noisy.stim"),
        (["--data", "d3", "--out", "w.pt"], "--out w.pt has to end with .safetensors"),
        (["--data", "d3", "--dem", "pij.dem"], "d3/pij.dem: No such file or directory"),
        (["--data", "d3", "--held-back", "0.7"], "held_back=0.7 is no share above 0 and up to 1/2"),
        (["--data", "d3", "--steps", "3", "--checks", "9"], "checks=9 is not from 1 to steps=3"),
        (["--data", "d3", "--from", "nobody"], "nobody"),
    ],
)
def test_bad_input_is_one_line(run_cli: RunCli, folder: Path, arguments: list[str], message: str):
    out = [] if "--out" in arguments else ["--out", "w.safetensors"]
    code, _, stderr = run_cli("fine-tune", *arguments, *out)
    assert code == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1


def test_two_files_of_one_name_are_named(run_cli: RunCli, folder: Path):
    (folder / "detection_events.r8").touch()
    _, _, stderr = run_cli("fine-tune", "--data", "d3", "--out", "w.safetensors")
    assert "found detection_events.b8, detection_events.r8" in stderr
    (folder / "detection_events.r8").unlink()
    (folder / "obs_flips_actual.01").unlink()
    _, _, stderr = run_cli("fine-tune", "--data", "d3", "--out", "w.safetensors")
    assert "should hold one file obs_flips_actual.b8 (or another of Stim's formats); found none" in stderr
