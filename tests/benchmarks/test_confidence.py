"""The table of confidence counts what was decoded, once, and draws it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmarks.confidence import table


def test_a_second_run_has_the_counts_and_samples_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--decoder", "pymatching", "--distance", "3", "--noise", "depolarizing", "si1000"]
    arguments = ["table", "--out", str(tmp_path), *flags, "--shots", "1024", "--chunk-shots", "512"]
    monkeypatch.setattr("sys.argv", [*arguments, "--results", str(tmp_path / "results")])
    table.main()
    first = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| pymatching")]
    assert len(first) == 2
    lines = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    assert [sum(line["counts"]["shots"]) for line in lines] == [512] * 6  # one is fitted on, two tested
    monkeypatch.setattr(table, "decode_with_gap", lambda *_: pytest.fail("nothing is left to decode"))
    table.main()
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| pymatching")]
    assert again == first
    rows = json.loads((tmp_path / "results" / "confidence.json").read_text())
    assert [row["shots"] for row in rows] == [1024, 1024]
    assert all(row["kept"][1][1] <= row["kept"][0][1] <= row["errors"] for row in rows)
    assert (tmp_path / "confidence.png").stat().st_size > 10_000
