"""`qecpipe doctor`: finds our modules, and says so when something shadows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sims
from sims.doctor import OUR_MODULES, examine

from ..conftest import RunCli


def test_report_has_every_section_and_our_modules_from_one_tree(run_cli: RunCli) -> None:
    code, out, err = run_cli("doctor")
    findings = list(examine())
    assert code == int(any(finding.level == "problem" for finding in findings))
    assert err == ""
    for word in (
        "versions",
        "modules",
        "processor",
        "extension",
        "gpu",
        "weights",
        "decoders",
        "instruction sets",
    ):
        assert word in out
    home = Path(sims.__file__).parents[1]
    places = {finding.name: finding for finding in findings if finding.section == "modules"}
    assert set(places) == set(OUR_MODULES)
    for name, finding in places.items():
        expected = home.joinpath(*name.split("."))
        assert (finding.level, finding.value) == (
            "ok",
            str(expected if expected.is_dir() else f"{expected}.py"),
        )
    machine = {finding.name for finding in findings if finding.section == "processor"}
    assert {"name", "instruction sets", "cores", "compiler"} <= machine


@pytest.mark.slow
def test_a_module_that_shadows_ours_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "noise_learning").mkdir()
    (tmp_path / "noise_learning" / "__init__.py").write_text("")
    script = "import sys; from sims.cli import main; sys.exit(main(['doctor']))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert f"problem: {tmp_path / 'noise_learning'}" in run.stdout
