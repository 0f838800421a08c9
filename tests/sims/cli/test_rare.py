"""`qecpipe rare`: a table, a JSON file and a CSV of sinter's for rates that counting does not reach."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sims.sweeps import read_results

from ..conftest import RunCli

SMALL = [
    "rare",
    "--distance",
    "3",
    "--p",
    "0.0001",
    "--basis",
    "x",
    "--decoder",
    "pymatching",
    "--chains",
    "32",
    "--steps",
    "4",
    "--workers",
    "1",
    "--effective-errors",
    "0",
]


def test_rates_go_into_table_json_and_csv_and_more_repetitions_add(run_cli: RunCli, tmp_path: Path):
    code, out, _ = run_cli(*SMALL, "--repetitions", 2, "--out", tmp_path)
    assert code == 0
    assert "rare events" in out
    (first,) = json.loads((tmp_path / "rare.json").read_text())
    code, out, _ = run_cli(*SMALL, "--repetitions", 6, "--out", tmp_path)
    (second,) = json.loads((tmp_path / "rare.json").read_text())
    assert second["log_rates"][:2] == first["log_rates"]
    rate = second["logical_error_rate"]
    assert rate["low"] < 1.45e-5 < rate["high"] < 100 * rate["low"]  # 1450 p^2
    (row,) = read_results(tmp_path / "rare.csv").values()
    assert row.errors / row.shots == pytest.approx(rate["best"], rel=1e-3)
    assert row.json_metadata["estimator"] == "splitting"
    assert (tmp_path / "ler_vs_p.png").exists()


def test_too_few_effective_errors_are_said(run_cli: RunCli, tmp_path: Path):
    wanted = [*SMALL[:-1], 100_000]
    code, out, _ = run_cli(*wanted, "--repetitions", 2, "--out", tmp_path)
    assert code == 0
    assert "1 of 1 rates have fewer than 100000 effective errors; the same command with" in out
    assert "--effective-errors 0 --repetitions" in out


def test_a_rate_of_few_ancestors_is_not_to_be_relied_on(run_cli: RunCli, tmp_path: Path):
    few = [*SMALL, "--chains", "8", "--repetitions", "2"]
    code, out, _ = run_cli(*few, "--out", tmp_path)
    assert code == 0
    assert "experimental: rates agree" in out
    assert "not to be relied on, nor their intervals: 1 of 1 rates (d=3 r=3 p=0.0001 x pymatching)" in out
    assert "give more --chains" in out
    (row,) = json.loads((tmp_path / "rare.json").read_text())
    assert row["reliable"] is False
    assert row["effective_errors"] <= row["ancestors"] < 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repetitions", "1"], "repetitions is 1; an interval needs at least 2"),
        (["--effective-errors", "-1"], "effective_errors is -1; it must be above 0"),
        (["--chains", "0"], "chains is 0; it must be at least 1"),
        (["--steps", "1"], "steps is 1; it must be at least 2"),
        (["--seed", "-1"], "--seed is -1"),
        (["--workers", "0"], "--workers is 0"),
        (["--decoder", "nobody"], "nobody"),
        (["--p", "0"], "the detector error model has no errors, so that no shot can fail"),
    ],
)
def test_bad_input_is_one_line(run_cli: RunCli, tmp_path: Path, arguments: list[str], message: str):
    code, _, stderr = run_cli(*SMALL, *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1


def test_another_seed_in_the_same_folder_is_refused(run_cli: RunCli, tmp_path: Path):
    assert run_cli(*SMALL, "--repetitions", 2, "--out", tmp_path)[0] == 0
    code, _, stderr = run_cli(*SMALL, "--repetitions", 2, "--seed", 7, "--out", tmp_path)
    assert code == 2
    assert "begun with another seed (0, now 7)" in stderr
