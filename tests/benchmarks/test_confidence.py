"""Reliability of gaps: what makes them log-odds is found, and the table counts what was decoded, once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from scripts.benchmarks.confidence import table
from scripts.benchmarks.confidence.reliability import (
    best_factor,
    fitted_line,
    parts_by_gap,
    worst_part,
)
from sims.sweeps import GapCounts


def _drawn(slope: float, offset: float = 0.0, shots: int = 200_000) -> GapCounts:
    """Shots of which slope times the gap plus offset is the log-odds of being right."""
    rng = np.random.default_rng(4)
    gap = np.abs(rng.normal(0, 6, shots))
    return GapCounts.of(gap, rng.random(shots) < expit(-slope * gap - offset))


@pytest.mark.parametrize("slope", [0.4, 1.0, 1.7])
def test_the_factor_and_the_line_that_make_gaps_log_odds_are_found(slope: float) -> None:
    found = _drawn(slope)
    assert best_factor(found) == pytest.approx(slope, rel=0.03)
    line = fitted_line(found)
    assert (line.slope, line.offset) == pytest.approx((slope, 0), abs=0.06)
    for log_odds in (slope * found.middles, line(found.middles)):
        worst = worst_part(parts_by_gap(found, log_odds))
        assert worst.off < 4 * worst.error + 0.003  # gaps are counted in steps
    if slope != 1.0:
        assert worst_part(parts_by_gap(found, found.middles)).off > 0.05


def test_parts_have_a_tenth_of_the_shots_each_and_all_errors() -> None:
    found = _drawn(0.6, 0.2, shots=50_000)
    parts = parts_by_gap(found, 0.6 * found.middles + 0.2)
    assert [part.shots for part in parts] == pytest.approx([5000] * 10, abs=700)
    assert sum(part.wrong for part in parts) == found.wrong.sum()
    said = [part.said for part in parts]
    assert said == sorted(said, reverse=True)
    assert parts[0].error == pytest.approx(np.sqrt(said[0] * (1 - said[0]) / parts[0].shots))


def test_where_nearly_all_shots_are_sure_there_are_fewer_parts() -> None:
    found = GapCounts.of(np.array([1.0] * 10 + [40.0] * 990), np.zeros(1000, dtype=bool))
    parts = parts_by_gap(found, found.middles)
    assert sum(part.shots for part in parts) == 1000
    assert len(parts) < 10
    with np.errstate(all="raise"):
        assert best_factor(found) > 1


def test_a_second_run_has_the_counts_and_samples_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--decoder", "pymatching", "neural-matching", "--weights", "realtime-matching"]
    flags += ["--distance", "5", "--noise", "depolarizing", "si1000", "--fit-shots", "512"]
    arguments = ["table", "--out", str(tmp_path), *flags, "--shots", "1024", "--chunk-shots", "512"]
    monkeypatch.setattr("sys.argv", [*arguments, "--results", str(tmp_path / "results")])
    table.main()
    first = [line for line in capsys.readouterr().out.splitlines() if "matching | " in line]
    assert len(first) == 4
    lines = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    shots = [sum(line["counts"]["right"]) + sum(line["counts"]["wrong"]) for line in lines]
    assert shots == [512] * 12  # one of each cell is fitted on, two are tested
    monkeypatch.setattr(table, "decode_with_gap", lambda *_: pytest.fail("nothing is left to decode"))
    table.main()
    again = [line for line in capsys.readouterr().out.splitlines() if "matching | " in line]
    assert again == first
    rows = json.loads((tmp_path / "results" / "confidence.json").read_text())
    assert [row["shots"] for row in rows] == [1024] * 4
    assert [row["line"]["shots"] for row in rows] == [512] * 4
    assert {row["weights"] for row in rows} == {"", "realtime-matching"}
    assert all(row["kept"][1][1] <= row["kept"][0][1] <= row["errors"] for row in rows)
    assert (tmp_path / "confidence.png").stat().st_size > 10_000
