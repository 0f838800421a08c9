"""`qecpipe fit`: one Λ for each error rate and one threshold for each decoder of a CSV."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sinter
from scipy.stats import binom

from ..conftest import RunCli


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Majority votes (threshold 1/2) called 'pymatching', and one distance of another decoder."""
    monkeypatch.chdir(tmp_path)
    lines = [sinter.CSV_HEADER]
    for decoder, distances in (("pymatching", (21, 41, 81)), ("tesseract", (21,))):
        for d in distances:
            for p in (0.46, 0.48, 0.49, 0.51, 0.52):
                meta = {"d": d, "rounds": d, "p": p, "basis": "x", "noise": "depolarizing"}
                errors = round(100_000 * float(binom.sf(d // 2, d, p)))
                row = sinter.TaskStats(
                    strong_id=f"{decoder}{d}{p}",
                    decoder=decoder,
                    json_metadata=meta,
                    shots=100_000,
                    errors=errors,
                )
                lines.append(row.to_csv_line())
    Path("results.csv").write_text("\n".join(lines) + "\n")
    return Path("results.csv")


def test_table_and_json_say_what_was_found_and_what_was_not(run_cli: RunCli, csv: Path):
    code, out, _ = run_cli("fit", csv, "--out", "fits.json")
    assert code == 0
    fits = json.loads(Path("fits.json").read_text())
    (threshold,) = fits["threshold"]
    assert threshold["decoder"] == "pymatching"
    assert threshold["p"]["low"] < 0.5 < threshold["p"]["high"]
    assert threshold["p"]["best"] == pytest.approx(0.5, abs=2e-3)
    assert [row["physical_error_rate"] for row in fits["suppression"]] == [0.46, 0.48, 0.49]
    assert "tesseract, x: a threshold needs two distances" in out
    assert "pymatching, x, p = 0.52: Λ needs errors at two distances" in out
    assert len(fits["not_fitted"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--p", "0.1"], "--p 0.1 has no rows; the files have 0.46, 0.48, 0.49, 0.51, 0.52"),
        (["--decoder", "nobody"], "--decoder nobody has no rows; the files have pymatching, tesseract"),
        (["--out", "results.csv"], "results.csv"),
    ],
)
def test_bad_input_is_one_line(run_cli: RunCli, csv: Path, arguments: list[str], message: str):
    before = csv.read_text()
    code, _, stderr = run_cli("fit", csv, *arguments)
    assert code == 2
    assert message in stderr
    assert len(stderr.splitlines()) == 1
    assert csv.read_text() == before
